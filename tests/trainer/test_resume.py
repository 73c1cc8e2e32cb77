"""A run that is killed and resumed ends with the same bits as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from latentry_trainer.cli import main
from latentry_trainer.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from latentry_trainer.training.log import read_metrics

MAIN = "from latentry_trainer.cli import main; main()"
TIMEOUT_S = 120


SMALL = ["--training.num_epochs", "12", "--training.checkpoint_interval_images", "300"]
LONG = ["--training.num_epochs", "100000"]


@pytest.fixture
def data(slice_path: Path, tmp_path: Path) -> Path:
    """600 of the real images."""
    with np.load(slice_path, allow_pickle=False) as archive:
        np.savez(tmp_path / "data.npz", images=archive["images"][:600])
    return tmp_path / "data.npz"


def start_arguments(preset: str, data: Path, folder: Path) -> list[str]:
    return [
        "run", preset, "--runs", str(folder / "runs"), "--repository", str(folder / "models"),
        "--data.name", "npz", "--data.path", str(data), "--training.device", "cpu",
        "--training.log_interval_images", "300",
    ]  # fmt: skip


def run_to_the_end(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has PyTorch loaded already."""
    monkeypatch.setattr("sys.argv", ["latentry-train", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


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


def interrupt(arguments: list[str], run_folder: Path, images_seen: int, signal_number: int) -> int:
    with subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stdout=subprocess.DEVNULL) as process:
        wait_for_images(run_folder, process, images_seen)
        os.kill(process.pid, signal_number)
        return process.wait(TIMEOUT_S)


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("vae-quick", ["--model.hidden_sizes", "30"]),  # noise in every step
        ("gan-quick", ["--model.generator_sizes", "30", "--model.critic_sizes", "30"]),  # and two phases, two Adams
        ("stacked-quick", ["--model.hidden_sizes", "30"]),  # a prior is fitted at the end
        # Resolutions that fade in, and in the second a buffer that follows the styles.
        ("progan-quick", ["--model.first_resolution", "8", "--model.max_feature_maps", "4"]),
        ("stylegan-quick", ["--model.max_feature_maps", "4"]),
    ],
)
def test_killed_at_three_random_points_and_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, sizes: list[str]
) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    run_to_the_end([*start_arguments(preset, data, through), *SMALL, *sizes], monkeypatch)

    run_folder = killed / "runs" / f"{preset}-001"
    arguments = [*start_arguments(preset, data, killed), *SMALL, *sizes]
    seed = random.randrange(10**6)
    print("kill points from seed", seed)
    for images_seen in sorted(random.Random(seed).sample(range(300, 5_000), 3)):
        assert interrupt(arguments, run_folder, images_seen, signal.SIGKILL) == -signal.SIGKILL
        arguments = ["resume", str(run_folder)]
    run_to_the_end(arguments, monkeypatch)

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
def test_a_polite_signal_saves_where_the_run_is(signal_number: int, data: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "stacked-quick-001"
    arguments = [*start_arguments("stacked-quick", data, tmp_path), *LONG]
    assert interrupt(arguments, run_folder, 3000, signal_number) == 130
    state = load_checkpoint(run_folder / CHECKPOINT_FILE)
    assert state["position"]["images_seen"] >= 3000
    assert not (tmp_path / "models").exists()
