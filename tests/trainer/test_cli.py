"""The command, in this process: only a kill needs another one (test_resume)."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.presets import PRESETS
from latentry_trainer.run_folder import lock
from PIL import Image

from tests.trainer.command import Command


def write_slice(path: Path, slice_path: Path, num_images: int) -> None:
    """The first of the real images."""
    with np.load(slice_path, allow_pickle=False) as archive:
        np.savez(path, images=archive["images"][:num_images])


def test_list_has_every_preset(latentry_train: Command) -> None:
    result = latentry_train("list")
    assert result.status == 0
    listed = [line.split()[0] for line in result.out.splitlines() if line.strip()]
    assert set(PRESETS) <= set(listed)
    assert "bce 0.2845" in result.out


def test_dry_run_prints_the_resolved_configuration_and_makes_nothing(latentry_train: Command, tmp_path: Path) -> None:
    options = ["--training.batch-size", "64", "--model.hidden_sizes=20,10", "--data.strict", "--data.name=folder"]
    result = latentry_train("run", "vae", *options, "--dry-run")
    configuration = json.loads(result.out)
    assert configuration["training"]["batch_size"] == 64
    assert configuration["model"] == {"output": "sigmoid", "hidden_sizes": [20, 10], "codings_size": 10}
    assert configuration["data"]["strict"] is True
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "stakced"], "unknown preset stakced; did you mean stacked"),
        (["run", "vae", "--training.batch", "3"], "unknown option --training.batch; did you mean training.batch_size"),
        (["run", "vae", "--training.num_epochs", "-3"], "option --training.num_epochs: input should be greater than"),
        (["run", "vae", "stray"], "unexpected argument stray"),
        (["run", "vae", "--training.seed=1", "--training.seed", "2"], "option --training.seed is given twice: '1' and"),
        (["run", "vae", "--model.codings_size", "9" * 12], "option --model.codings_size: input should be less than"),
        (["run", "vae", "--name", "../escape"], "model name '../escape'"),
        (["run", "vae", "--data.name", "npz", "--data.path", "nowhere.npz"], "cannot read nowhere.npz"),
        (["run"], "requires an argument"),
        (["train"], 'Unknown command "train"'),
        (["resume", "."], "is not a run folder"),
        (["export", "nowhere"], "is not a run folder"),
        (["evaluate", "nowhere"], "is not a run folder"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_nothing(
    latentry_train: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = latentry_train(*arguments)
    assert result.status == 2
    assert result.err.startswith("latentry-train: error: ")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_whole_path_on_ones_own_images(latentry_train: Command, tmp_path: Path, slice_path: Path) -> None:
    options = ["--data.name", "npz", "--data.path", str(slice_path), "--training.num_epochs", "2"]
    result = latentry_train("run", "denoise-gaussian-quick", *options, "--name", "mine")
    assert result.status == 0, result.err
    run_folder = tmp_path / "runs" / "denoise-gaussian-quick-001"
    files = ["checkpoint.safetensors", "config.json", "destination.json", "evaluation.json", "metrics.jsonl"]
    pictures = ["activations.png", "grids", "report.html", "tensorboard", "tsne.png"]
    assert {path.name for path in run_folder.iterdir()} == {*files, *pictures}
    manifest = json.loads((tmp_path / "models" / "mine" / "1" / "manifest.json").read_text())
    assert manifest["preset"] == "denoise-gaussian-quick"
    assert "CAPABILITY_DENOISE" in manifest["capabilities"]
    assert int(manifest["provenance"]["images_seen"]) == 4800
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    assert {(metric["split"], metric["name"]) for metric in manifest["metrics"]} == {
        (split, name) for split, figures in evaluation.items() for name in figures
    }

    again = latentry_train("evaluate", str(run_folder))
    assert again.status == 0
    assert json.loads((run_folder / "evaluation.json").read_text()) == evaluation
    assert f"{evaluation['test']['bce']:.4f}" in again.out

    exported = latentry_train("export", str(run_folder), "--name", "other")
    assert exported.status == 0
    assert (tmp_path / "models" / "other" / "1" / "manifest.json").is_file()


def test_a_run_is_resumed_from_any_folder_and_goes_where_it_was_to_go(
    latentry_train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_path: Path
) -> None:
    write_slice(tmp_path / "mine.npz", slice_path, 60)
    options = ["--data.name", "npz", "--data.path", "mine.npz", "--training.num_epochs", "1"]
    begun = latentry_train("run", "stacked", *options, "--name", "mine", "--repository", "bundles")
    assert begun.status == 0, begun.err
    (tmp_path / "runs" / "stacked-001" / "report.html").unlink()  # as if it had been stopped before that
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed = latentry_train("resume", str(tmp_path / "runs" / "stacked-001"))
    assert resumed.status == 0, resumed.err
    assert (tmp_path / "bundles" / "mine" / "2" / "manifest.json").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []

    again = latentry_train("resume", str(tmp_path / "runs" / "stacked-001"))
    assert again.status == 0
    assert "done already; publish again with: latentry-train export" in again.out
    assert not (tmp_path / "bundles" / "mine" / "3").exists()


def test_one_process_at_a_time_works_on_a_run(latentry_train: Command, tmp_path: Path, slice_path: Path) -> None:
    write_slice(tmp_path / "mine.npz", slice_path, 60)
    options = ["--data.name", "npz", "--data.path", "mine.npz", "--training.num_epochs", "1"]
    assert latentry_train("run", "stacked", *options).status == 0
    run_folder = tmp_path / "runs" / "stacked-001"
    (run_folder / "report.html").unlink()  # or there would be nothing to do
    with lock(run_folder):
        result = latentry_train("resume", str(run_folder))
    assert result.status == 2
    assert "another process is at work on this run" in result.err
    assert latentry_train("resume", str(run_folder)).status == 0, "the lock was given back"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"variant": []}', b"\xff", b'{"variant": "vae", "model": 3}'])
def test_a_damaged_configuration_is_named(latentry_train: Command, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    result = latentry_train("resume", str(tmp_path))
    assert result.status == 2
    assert f"{tmp_path / 'config.json'} is not a configuration" in result.err


# With few steps an epoch, the training losses of the last two stay finite: their validation figures tell.
@pytest.mark.parametrize("preset", ["stacked", "gan", "vae", "stacked-quick"])
def test_a_diverging_run_says_so_and_publishes_nothing(
    latentry_train: Command, tmp_path: Path, slice_path: Path, preset: str
) -> None:
    write_slice(tmp_path / "mine.npz", slice_path, 120)
    options = ["--data.name", "npz", "--data.path", "mine.npz", "--training.optimizer.learning_rate", "1e9"]
    result = latentry_train("run", preset, *options, "--training.batch_size", "32", "--training.num_epochs", "1")
    assert result.status == 1
    assert re.search(r" after (64|96) images \(epoch 1\); ", result.err)
    assert "try a new run with a smaller --training.optimizer.learning_rate; this one has no checkpoint" in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "models").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(latentry_train: Command, tmp_path: Path) -> None:
    result = latentry_train("run", "stacked", "--data.name", "digits", "--training.device", "cuda")
    assert result.status == 2
    assert "--training.device: cuda was asked for" in result.err
    assert list(tmp_path.iterdir()) == []


def test_corrupt_images_are_skipped_or_refused(
    latentry_train: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        Image.new("L", (28, 28), i * 20).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    options = ["--data.name", "folder", "--data.path", "images", "--data.greyscale", "--training.num_epochs", "1"]
    options += ["--training.batch_size", "10"]
    strict = latentry_train("run", "stacked", *options, "--data.strict")
    assert strict.status == 2
    assert "1 of 13 images of images are unreadable: broken.png" in strict.err
    assert not (tmp_path / "runs").exists()
    skipping = latentry_train("run", "gan", *options)
    assert skipping.status == 0, skipping.err
    assert "skipped 1 unreadable of 13 images" in caplog.text
