"""The command, in this process: only a kill needs another one (test_resume)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from latentry_trainer.cli import main
from latentry_trainer.presets import PRESETS
from PIL import Image


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def latentry_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in an empty folder, `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> Result:
        monkeypatch.setattr("sys.argv", ["latentry-train", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, captured.out, captured.err)

    return run


def test_list_has_every_preset(latentry_train: Command) -> None:
    result = latentry_train("list")
    assert result.status == 0
    listed = [line.split()[0] for line in result.out.splitlines() if line.strip()]
    assert set(PRESETS) <= set(listed)
    assert "bce 0.2845" in result.out


def test_dry_run_prints_the_resolved_configuration_and_makes_nothing(latentry_train: Command, tmp_path: Path) -> None:
    options = ["--training.batch-size", "64", "--model.hidden_sizes=20,10", "--data.strict"]
    result = latentry_train("run", "vae", *options, "--dry-run")
    configuration = json.loads(result.out)
    assert configuration["training"]["batch_size"] == 64
    assert configuration["model"] == {"hidden_sizes": [20, 10], "codings_size": 10}
    assert configuration["data"]["strict"] is True
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "stakced"], "unknown preset stakced; did you mean stacked"),
        (["run", "vae", "--training.batch", "3"], "unknown option --training.batch; did you mean training.batch_size"),
        (["run", "vae", "--training.num_epochs", "-3"], "option --training.num_epochs: input should be greater than"),
        (["run", "vae", "stray"], "unexpected argument stray"),
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
    parts = ["checkpoint.safetensors", "config.json", "evaluation.json", "grids", "metrics.jsonl", "report.html"]
    assert sorted(path.name for path in run_folder.iterdir()) == [*parts, "tensorboard", "tsne.png"]
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

    exported = latentry_train("export", str(run_folder), "--name", "mine")
    assert exported.status == 0
    assert (tmp_path / "models" / "mine" / "2" / "manifest.json").is_file()

    resumed = latentry_train("resume", str(run_folder), "--name", "mine")
    assert resumed.status == 0, "a run that is done is finished again"
    assert (tmp_path / "models" / "mine" / "3" / "manifest.json").is_file()


def test_a_diverging_run_says_so_and_keeps_its_last_good_checkpoint(
    latentry_train: Command, tmp_path: Path, slice_path: Path
) -> None:
    options = ["--data.name", "npz", "--data.path", str(slice_path), "--training.optimizer.learning_rate", "1e12"]
    result = latentry_train("run", "stacked", *options)
    assert result.status == 1
    assert "try a smaller --training.optimizer.learning_rate" in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "models").exists()


def test_corrupt_images_are_skipped_or_refused(
    latentry_train: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        Image.new("L", (28, 28), i * 20).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    options = ["--data.name", "folder", "--data.path", "images", "--data.greyscale", "--training.num_epochs", "1"]
    strict = latentry_train("run", "stacked", *options, "--data.strict")
    assert strict.status == 2
    assert "1 of 13 images of images are unreadable: broken.png" in strict.err
    assert not (tmp_path / "runs").exists()
    skipping = latentry_train("run", "gan", *options)
    assert skipping.status == 0, skipping.err
    assert "skipped 1 unreadable of 13 images" in caplog.text
