"""Compares the speed of latentry's training with that of the book's Keras code, side by side.

Both train the same network on the same images with the same optimiser for one epoch, each in a process of its own, in
turn: what else the machine does slows both. Run by `make bench-training`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from latentry_trainer.config import DataConfig
from latentry_trainer.data import load_dataset

from benchmarks.machine import describe_machine
from benchmarks.report import save

HERE = Path(__file__).parent
GOALS = {"stacked": 2.0, "conv": 2.5, "recurrent": 3.0, "dcgan": 1.0}  # times Keras' images a second
FULL_IMAGES, QUICK_IMAGES = 55_000, 3_200


def measure(command: list[str]) -> dict[str, float]:
    """Runs one side; it prints one line of JSON."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr}")
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


def compare(model: str, keras_python: Path, images: Path, num_images: int, num_rounds: int) -> dict[str, Any]:
    """Images a second of both sides: every round's, and their medians."""
    sides = {
        "keras": [str(keras_python), str(HERE / "keras_side.py"), model, "--images", str(images)],
        "latentry": [sys.executable, str(HERE / "latentry_side.py"), model],
    }
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(num_rounds):
        for side, command in sides.items():
            runs[side].append(measure([*command, "--num-images", str(num_images)]))
    speeds = {side: [num_images / run["seconds"] for run in runs[side]] for side in sides}
    medians = {f"{side}_images_per_s": median(speeds[side]) for side in sides}
    return {
        "model": model,
        **medians,
        "ratio": medians["latentry_images_per_s"] / medians["keras_images_per_s"],
        "goal": GOALS[model],
        # Less disturbed by other work than the clock.
        "cpu_seconds": {side: median(run["cpu_seconds"] for run in runs[side]) for side in sides},
        "losses": {side: median(run["loss"] for run in runs[side]) for side in sides},
        "rounds_images_per_s": speeds,
    }


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| model | Keras, images/s | latentry, images/s | ratio | rounds' ratios | goal | ratio of CPU times |",
        "|" + " --- |" * 7,
    ]
    for result in results:
        rounds = result["rounds_images_per_s"]
        ratios = sorted(ours / theirs for ours, theirs in zip(rounds["latentry"], rounds["keras"], strict=True))
        cpu_seconds = result["cpu_seconds"]
        lines.append(
            f"| {result['model']} | {result['keras_images_per_s']:.0f} | {result['latentry_images_per_s']:.0f} "
            f"| {result['ratio']:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} | {result['goal']} "
            f"| {cpu_seconds['keras'] / cpu_seconds['latentry']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, writes JSON and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed")
    parser.add_argument("--models", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_IMAGES} images instead of {FULL_IMAGES}")
    parser.add_argument("--keras-python", type=Path, default=Path(".cache/keras/bin/python"))
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/training-speed.json"))
    options = parser.parse_args()

    machine = describe_machine()
    num_images = QUICK_IMAGES if options.quick else FULL_IMAGES
    options.output.parent.mkdir(parents=True, exist_ok=True)
    images = options.output.parent / "fashion-mnist.npy"
    np.save(images, load_dataset(DataConfig()).images[:, 0].numpy())
    results = []
    for model in options.models:
        results.append(compare(model, options.keras_python, images, num_images, options.rounds))
        print(table(results[-1:]), flush=True)
    report = {"machine": machine, "num_images": num_images, "num_rounds": options.rounds, "results": results}
    save(report, options.output)
    print(f"\n{machine}\n\n{table(results)}\n\n{options.output}")


if __name__ == "__main__":
    main()
