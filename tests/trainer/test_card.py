"""What people read of a bundle: the card and the picture beside the manifest, and the table of a repository."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import json_format
from latentry.v1.manifest_pb2 import Manifest
from latentry_trainer.cards import figures_of, make_card, make_picture, training_command
from latentry_trainer.collection import choose_runs
from latentry_trainer.config import override, to_json
from latentry_trainer.export.float16 import FLOAT16_TOLERANCE
from latentry_trainer.fit_encoder import configure
from latentry_trainer.presets import PRESETS
from latentry_trainer.report.grids import write_grid
from latentry_trainer.run_folder import Destination, start
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import Autoencoder
from PIL import Image

from tests.trainer.command import Command

RUN = ("run", "vae-quick", "--data.name", "digits", "--training.num_epochs", "1", "--name", "digits-vae")


def read_manifest(version: Path) -> Manifest:
    return json_format.Parse((version / "manifest.json").read_bytes(), Manifest())


def finished_run(runs: Path, preset: str, validation: Mapping[str, float], model_name: str = "") -> Path:
    """What `collect` looks at of a finished run."""
    destination = Destination(repository=Path("models"), model_name=model_name or preset)
    run_folder = start(PRESETS[preset].config, destination, runs)
    (run_folder / "evaluation.json").write_text(json.dumps({"validation": validation}))
    (run_folder / "report.html").touch()
    return run_folder


def test_a_published_run_has_a_card_and_a_picture(latentry_train: Command, tmp_path: Path) -> None:
    assert latentry_train(*RUN).status == 0
    version = tmp_path / "models" / "digits-vae" / "1"
    files = {"README.md", "picture.png", "manifest.json", "encoder.onnx", "decoder.onnx", "denoiser.onnx"}
    assert {path.name for path in version.iterdir()} == files
    card, manifest = (version / "README.md").read_text(), read_manifest(version)
    assert "`latentry-train run vae-quick --data.name digits --training.num_epochs 1 --name digits-vae`" in card
    for fact in ("![", "(picture.png)", manifest.provenance.dataset_sha256, "| seed | 42 |", "CC BY 4.0"):
        assert fact in card
    figures = figures_of(manifest)
    assert {"loss", "bce", "mse", "sample_std_rmse"} <= {figure.name for figure in figures}
    for figure in figures:
        assert f"| `{figure.name}` | {figure.values['validation']:.4g} |" in card
    assert len(re.findall("^    latentry [a-z]", card, re.MULTILINE)) == len(manifest.capabilities)
    assert "float16" not in card


def test_the_best_run_is_collected_with_float16_weights_that_serve_what_was_measured(
    latentry_train: Command, tmp_path: Path
) -> None:
    assert latentry_train(*RUN).status == 0
    collected = latentry_train("collect", "digits-vae", "--repository", "pretrained")
    assert collected.status == 0
    assert "bundle  pretrained/digits-vae/1" in collected.out
    version = tmp_path / "pretrained" / "digits-vae" / "1"
    usual = tmp_path / "models" / "digits-vae" / "1"
    assert (version / "decoder.onnx").stat().st_size < 0.6 * (usual / "decoder.onnx").stat().st_size
    assert "float16 weights" in (version / "README.md").read_text()

    variant = load_trained(tmp_path / "runs" / "vae-quick-001").variant
    assert isinstance(variant, Autoencoder)
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = variant.reconstruct(images)
    session = onnxruntime.InferenceSession(version / "denoiser.onnx", providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"inputs": images.numpy()})
    np.testing.assert_allclose(outputs, expected, rtol=FLOAT16_TOLERANCE, atol=FLOAT16_TOLERANCE)

    table = (tmp_path / "pretrained" / "README.md").read_text()
    assert "[digits-vae](digits-vae/1/README.md)" in table
    assert 'src="digits-vae/1/picture.png"' in table
    again = latentry_train("collect", "digits-vae", "--repository", "pretrained")
    assert "there   pretrained/digits-vae" in again.out
    too_large = latentry_train("collect", "digits-vae", "--repository", "pretrained", "--max-size-mb", "0.1")
    assert too_large.status == 2
    assert re.search(r"pretrained: expected at most 0\.1 MB, got 0\.\d; the largest: digits-vae 0\.\d", too_large.err)


def test_of_several_runs_the_best_is_chosen_by_the_figure_of_its_kind(tmp_path: Path) -> None:
    finished_run(tmp_path, "stacked", {"mse": 0.02, "fcd": 1})
    better = finished_run(tmp_path, "stacked", {"mse": 0.01, "fcd": 2})
    blurred = finished_run(tmp_path, "vae", {"mse": 0.01, "fcd": 200})
    sampler = finished_run(tmp_path, "vae", {"mse": 0.02, "fcd": 100})
    finished_run(tmp_path, "denoise-dropout", {"denoised_psnr_db": 17, "mse": 0.01})
    denoiser = finished_run(tmp_path, "denoise-dropout", {"denoised_psnr_db": 18, "mse": 0.02})
    finished_run(tmp_path, "classifier", {"accuracy": 0.8})
    classifier = finished_run(tmp_path / "pretrain-classifier-001", "classifier", {"accuracy": 0.9})
    chosen = choose_runs(tmp_path)
    assert chosen == {"classifier": classifier, "denoise-dropout": denoiser, "stacked": better, "vae": sampler}
    assert blurred not in chosen.values()


def test_quick_and_unfinished_runs_and_those_without_a_class_are_not_chosen(tmp_path: Path) -> None:
    finished_run(tmp_path, "stacked-quick", {"mse": 0.01})
    (finished_run(tmp_path, "stacked", {"mse": 0.01}) / "report.html").unlink()
    held_out = finished_run(tmp_path, "vae", {"fcd": 1}, "vae-without-3")
    (held_out / "config.json").write_text(to_json(override(PRESETS["vae"].config, {"data.held_out_label": "3"})))
    with pytest.raises(ValueError, match="no finished run of a preset"):
        choose_runs(tmp_path)
    assert list(choose_runs(tmp_path, ["stacked-quick"])) == ["stacked-quick"]
    with pytest.raises(ValueError, match="no finished run of tied, conv"):
        choose_runs(tmp_path, ["stacked-quick", "tied", "conv"])


def test_the_command_has_what_differs_from_the_preset() -> None:
    config = override(PRESETS["stacked"].config, {"model.hidden_sizes": "200,100", "data.num_train_images": "500"})
    command = training_command(config, "mine")
    assert command == (
        "latentry-train run stacked --model.hidden_sizes 200,100 --data.num_train_images 500 --name mine"
    )
    assert training_command(PRESETS["vae"].config, "vae") == "latentry-train run vae"


def test_a_picture_shows_the_last_grids_one_above_the_other(tmp_path: Path) -> None:
    for images_seen, level in ((100, 0.0), (2000, 1.0)):
        write_grid(tmp_path / f"samples-{images_seen:09d}.png", np.full((4, 1, 28, 28), level), num_columns=2)
        write_grid(tmp_path / f"reconstructions-{images_seen:09d}.png", np.full((2, 1, 28, 28), 0.4), num_columns=2)
    content = make_picture(tmp_path)
    assert content is not None
    (tmp_path / "picture.png").write_bytes(content)
    with Image.open(tmp_path / "picture.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape == (56 + 8 + 116, 116)
    assert pixels[10, 10] == 102
    assert (pixels[-56:] == 255).all()


def test_a_run_without_grids_has_no_picture(tmp_path: Path) -> None:
    assert make_picture(tmp_path) is None


@pytest.mark.parametrize(
    ("preset", "device", "is_told"),
    [("dcgan-cpu", "cpu", True), ("dcgan-cpu", "NVIDIA H200", False), ("dcgan", "cpu", False)],
)
def test_where_only_a_cpu_was_at_hand_the_card_names_the_better_preset(preset: str, device: str, is_told: bool) -> None:
    manifest = Manifest(name="mine", variant="dcgan", preset=preset)
    manifest.provenance.device = device
    card = make_card(manifest, {}, PRESETS[preset].config, has_picture=False).decode()
    told = "Trained on a CPU only. Who has a GPU gets a better model from the preset `dcgan`."
    assert (told in card) == is_told


def test_a_gan_with_its_encoder_comes_first_and_is_made_by_two_commands(tmp_path: Path) -> None:
    finished_run(tmp_path, "dcgan-cpu", {"fcd": 40}, "dcgan")
    config = configure(PRESETS["dcgan-cpu"].config, {})
    with_encoder = start(config, Destination(repository=Path("models"), model_name="dcgan"), tmp_path)
    (with_encoder / "evaluation.json").write_text(json.dumps({"validation": {"fcd": 41, "encoder_mse": 0.02}}))
    (with_encoder / "report.html").touch()
    assert choose_runs(tmp_path) == {"dcgan": with_encoder}
    command = training_command(config, "dcgan")
    assert command.startswith(
        "latentry-train run dcgan-cpu --name dcgan && latentry-train fit-encoder runs/dcgan-cpu-001"
    )
