"""A run that is killed and resumed ends with the same bits as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from latentry_trainer.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from latentry_trainer.training.log import read_metrics

MAIN = "from latentry_trainer.cli import main; main()"
TIMEOUT_S = 120


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", MAIN, *arguments]


def start_arguments(preset: str, slice_path: Path, folder: Path) -> list[str]:
    return [
        "run", preset, "--runs", str(folder / "runs"), "--repository", str(folder / "models"),
        "--data.name", "npz", "--data.path", str(slice_path), "--training.device", "cpu",
        "--training.num_epochs", "12", "--training.log_interval_images", "300",
        "--training.checkpoint_interval_images", "300",
    ]  # fmt: skip


def run_to_the_end(arguments: list[str], folder: Path) -> None:
    subprocess.run(command(*arguments), check=True, cwd=folder, capture_output=True, timeout=TIMEOUT_S)


def wait_for_images(run_folder: Path, process: "subprocess.Popen[bytes]", images_seen: int) -> None:
    """Waits until the run's metrics say that it has come so far."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be stopped"
        path = run_folder / "metrics.jsonl"
        if path.exists() and any(line.images_seen >= images_seen for line in read_metrics(run_folder)):
            return
        time.sleep(0.002)
    raise TimeoutError


def interrupt(arguments: list[str], folder: Path, run_folder: Path, images_seen: int, signal_number: int) -> int:
    with subprocess.Popen(command(*arguments), cwd=folder, stdout=subprocess.DEVNULL) as process:
        wait_for_images(run_folder, process, images_seen)
        os.kill(process.pid, signal_number)
        return process.wait(TIMEOUT_S)


def test_killed_at_three_random_points_and_resumed(slice_path: Path, tmp_path: Path) -> None:
    preset = "gan-quick"  # two phases, two Adams, and noise in every step
    through, killed = tmp_path / "through", tmp_path / "killed"
    through.mkdir()
    killed.mkdir()
    run_to_the_end(start_arguments(preset, slice_path, through), through)

    run_folder = killed / "runs" / f"{preset}-001"
    arguments = start_arguments(preset, slice_path, killed)
    resume = ["resume", str(run_folder), "--repository", str(killed / "models")]
    seed = random.randrange(10**6)
    print("kill points from seed", seed)
    for images_seen in sorted(random.Random(seed).sample(range(500, 20_000), 3)):
        assert interrupt(arguments, killed, run_folder, images_seen, signal.SIGKILL) == -signal.SIGKILL
        arguments = resume
    run_to_the_end(resume, killed)

    expected = load_checkpoint(through / "runs" / f"{preset}-001" / CHECKPOINT_FILE)
    resumed = load_checkpoint(run_folder / CHECKPOINT_FILE)
    for part in ("weights", "average"):
        assert expected[part].keys() == resumed[part].keys()
        for name, weight in expected[part].items():
            assert weight.numpy().tobytes() == resumed[part][name].numpy().tobytes(), (part, name)
    positions = [(line.images_seen, line.split) for line in read_metrics(run_folder)]
    assert len(positions) == len(set(positions))
    assert positions == [(line.images_seen, line.split) for line in read_metrics(through / "runs" / f"{preset}-001")]
    assert json.loads((killed / "models" / preset / "1" / "manifest.json").read_text())["preset"] == preset


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_signal_saves_where_the_run_is(signal_number: int, slice_path: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "stacked-quick-001"
    arguments = [
        *start_arguments("stacked-quick", slice_path, tmp_path),
        "--training.checkpoint_interval_images", "1000000", "--training.num_epochs", "100000",
    ]  # fmt: skip
    assert interrupt(arguments, tmp_path, run_folder, 3000, signal_number) == 130
    state = load_checkpoint(run_folder / CHECKPOINT_FILE)
    assert state["position"]["images_seen"] >= 3000
    assert not (tmp_path / "models").exists()
