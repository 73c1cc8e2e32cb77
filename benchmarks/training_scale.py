"""Measures how the time and the memory of training grow with the images and with the epochs.

Each run is a process of its own, which trains the preset `stacked` with latentry's training loop. Run by
`make bench-training`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.report import save

LATENTRY = Path(__file__).parent / "training_speed" / "latentry_side.py"
PRESET = "stacked"
# Images and epochs of each run.
RUNS = ((10_000, 1), (30_000, 1), (55_000, 1), (10_000, 2), (10_000, 4))


def measure(num_images: int, num_epochs: int) -> dict[str, float]:
    """Trains in a process of its own."""
    options = ["--num-images", str(num_images), "--num-epochs", str(num_epochs)]
    process = subprocess.run(
        [sys.executable, str(LATENTRY), PRESET, *options], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, float] = json.loads(process.stdout)
    return result


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| images | epochs | seconds | CPU seconds for 1 000 images | peak memory, MiB |",
        "|" + " --- |" * 5,
    ]
    lines += [
        f"| {result['num_images']} | {result['num_epochs']} | {result['seconds']:.1f} "
        f"| {result['cpu_seconds'] / result['num_images'] / result['num_epochs'] * 1000:.3f} "
        f"| {result['peak_memory_mib']:.0f} |"
        for result in results
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures, writes JSON and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_scale")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/training-scale.json"))
    options = parser.parse_args()

    machine = describe_machine()
    rounds = [[measure(*run) for run in RUNS] for _ in range(options.rounds)]
    results = [
        {"num_images": num_images, "num_epochs": num_epochs}
        | {name: median(result[name] for result in runs) for name in runs[0]}
        for (num_images, num_epochs), runs in zip(RUNS, zip(*rounds, strict=True), strict=True)
    ]
    report = {"machine": machine, "num_rounds": options.rounds, "results": results}
    save(report, options.output)
    print(f"{machine}\n\n{table(results)}\n\n{options.output}")


if __name__ == "__main__":
    main()
