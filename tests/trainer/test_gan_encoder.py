"""Encoders for GANs: what they learn, what they leave as it is, and the command that fits one."""

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentry_trainer.cli import main
from latentry_trainer.config import OptimizerConfig, RunConfig, TrainingConfig, from_dict, to_dict
from latentry_trainer.data import Dataset, digits
from latentry_trainer.evaluation import evaluate
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.parallel import ALONE
from latentry_trainer.training.log import NoLog, read_metrics
from latentry_trainer.training.loop import train
from latentry_trainer.training.trained import load_trained, read_state
from latentry_trainer.variants import Batch, GANEncoder
from latentry_trainer.variants.dcgan import DCGAN
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.gans import GANS
from latentry_trainer.variants.stylegan import StyleGAN
from torch import Generator, Tensor, nn

from tests.trainer.command import Command

SHAPE = (1, 8, 8)
NUM_LABELS = 10
GAN_OPTIONS = ["--data.name", "digits", "--model.codings_size", "6", "--model.generator_sizes", "32"]
GAN_OPTIONS += ["--model.critic_sizes", "32", "--training.num_epochs", "4", "--training.batch_size", "64"]
TRAINING = TrainingConfig(
    batch_size=64,
    num_epochs=2,
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
    average_half_life_images=200,
)

State = Mapping[str, Any]


def build(
    model: Any = None, *, name: str = "gan", shape: tuple[int, ...] = SHAPE, seed: int = 0, **options: Any
) -> GANEncoder:
    """An encoder of a GAN with fresh weights."""
    gan = RunConfig(preset=name, variant=name, model=model or GANS[name].Config())
    config = GANEncoder.Config(gan=gan, **{"filters": (8, 8), **options})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GANEncoder(config, shape, NUM_LABELS if GANEncoder.needs_labels(config) else 0)


def rows(shape: tuple[int, ...] = SHAPE, num_rows: int = 12) -> Batch:
    generator = Generator().manual_seed(5)
    inputs = torch.rand(num_rows, *shape, generator=generator)
    return Batch(inputs=inputs, labels=torch.arange(num_rows) % NUM_LABELS, generator=generator)


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", GANS)
def test_any_gan_gets_an_encoder_whose_graph_computes_what_it_does(name: str) -> None:
    variant = build(name=name)
    encoder, *others = variant.graph_modules()
    assert encoder.role == "encoder"
    assert [graph.role for graph in others] == [graph.role for graph in variant.gan.graph_modules()]
    assert [tensor.name for tensor in encoder.inputs] == ["inputs"]
    outputs = {tensor.name: tensor.shape for tensor in encoder.outputs}
    style = {"styles": tuple(variant.style.mean_style.shape)} if variant.style else {}
    assert outputs == {"codings": variant.gan.codings_shape, **style}
    check_parity(encoder, export_graph(encoder))
    assert variant.capabilities == variant.gan.capabilities | {"ENCODE"}


def test_vectors_are_encoded_too() -> None:
    variant = build(shape=(5,))
    assert variant.encode(rows((5,)).inputs).shape == (12, *variant.codings_shape)


def test_the_loss_is_the_codings_error_and_the_weighted_error_of_the_images() -> None:
    pairs_only, both = build(pixel_weight=0.0), build(pixel_weight=3.0)
    codings = rows().normals(*pairs_only.codings_shape)
    expected = (pairs_only.encode(pairs_only.decode(codings)) - codings).square().mean()
    assert pairs_only.loss(rows()).item() == pytest.approx(expected.item(), rel=1e-5)
    inputs = rows().inputs
    error = (both.decode(both.encode(inputs)) - inputs).square().mean()
    assert both.loss(rows()).item() == pytest.approx((expected + 3 * error).item(), rel=1e-5)


def test_a_style_based_gan_is_given_styles_and_generates_by_them_without_noise() -> None:
    variant, batch = build(StyleGAN.Config(conditional=True), name="stylegan"), rows()
    assert isinstance(variant.gan, StyleGAN)
    assert variant.regression_errors(batch).keys() == {"codings_mse", "styles_mse"}
    _, synthesis = variant.gan.graph_modules()
    _, styles = variant.encoder(batch.inputs)
    layers = styles[:, None].expand(-1, variant.gan.style.num_layers, -1)
    noises = [torch.zeros(len(styles), *noise.shape) for noise in synthesis.inputs[1:]]
    expected = synthesis.module(layers, *noises)
    torch.testing.assert_close(variant.reconstruct(batch.inputs, batch.labels), expected)


def test_a_conditional_gan_generates_by_the_images_labels() -> None:
    variant, batch = build(GAN.Config(conditional=True)), rows()
    assert batch.labels is not None
    outputs = variant.reconstruct(batch.inputs, batch.labels)
    torch.testing.assert_close(outputs, variant.gan.decode(variant.encode(batch.inputs), batch.labels))
    assert not torch.equal(outputs, variant.reconstruct(batch.inputs, batch.labels.flip(0)))


def test_training_leaves_the_gan_as_it_is_statistics_included() -> None:
    variant = build(DCGAN.Config(filters=(4, 8), batch_norm="both"), name="dcgan").train()
    before = copies(variant.gan)
    variant.loss(rows()).backward()  # type: ignore[no-untyped-call]
    assert same(copies(variant.gan), before)
    assert all(weight.grad is None for weight in variant.gan.parameters())
    assert all(weight.grad is not None for weight in variant.encoder.parameters())


def train_on(dataset: Dataset, *, stop_after: int | None = None, state: State | None = None) -> State:
    """The last checkpoint of a training, stopped after so many steps."""
    saved: list[State] = []
    steps = count(1)
    train(
        build(GAN.Config(codings_size=6)),
        dataset,
        TRAINING,
        state=state,
        save=lambda new: saved.append({**new, "weights": dict(new["weights"])}),
        log=NoLog(),
        world=ALONE,
        after_epoch=lambda _average, _images_seen: None,
        after_training=lambda _average: None,
        should_stop=lambda: next(steps) == stop_after,
    )
    return saved[-1]


def test_a_training_that_was_stopped_goes_on_to_the_same_bits() -> None:
    dataset = digits.load()
    through = train_on(dataset)
    stopped = train_on(dataset, stop_after=7)
    assert stopped["position"]["images_seen"] == 7 * TRAINING.batch_size
    resumed = train_on(dataset, state=stopped)
    assert same(resumed["weights"], through["weights"])
    assert same(resumed["average"], through["average"])


def test_figures_are_the_errors_of_images_that_are_encoded_and_generated_again() -> None:
    variant, dataset = build(GAN.Config(conditional=True)), digits.load()
    figures = evaluate(variant, dataset, "test", torch.device("cpu"))
    inputs = dataset.images_of("test") / 255
    errors = (variant.reconstruct(inputs, dataset.labels_of("test")) - inputs).square().flatten(1).mean(dim=1)
    assert figures["encoder_mse"] == pytest.approx(errors.mean().item(), rel=1e-5)
    assert figures["encoder_psnr_db"] == pytest.approx((-10 * errors.log10()).mean().item(), rel=1e-5)


def test_the_gans_configuration_is_kept_whole() -> None:
    gan = RunConfig(preset="dcgan", variant="dcgan", model=DCGAN.Config(filters=(4,)))
    config = RunConfig(preset="mine", variant="gan-encoder", model=GANEncoder.Config(gan=gan))
    assert from_dict(json.loads(json.dumps(to_dict(config))), GANEncoder.Config) == config


@pytest.fixture(scope="module")
def gan_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small GAN of digits."""
    folder = tmp_path_factory.mktemp("gan")
    places = ["--runs", str(folder / "runs"), "--repository", str(folder / "models")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["latentry-train", "run", "gan-quick", *GAN_OPTIONS, *places, "--name", "numbers"])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 0
    return folder / "runs/gan-quick-001"


def test_the_command_publishes_the_gan_with_its_encoder(latentry_train: Command, tmp_path: Path, gan_run: Path) -> None:
    result = latentry_train("fit-encoder", str(gan_run), "--model.filters", "16,16", "--training.num_epochs", "8")
    assert result.status == 0, result.err
    run_folder = tmp_path / "runs/encoder-gan-quick-001"

    gan, trained = load_trained(gan_run).variant, load_trained(run_folder)
    state = read_state(run_folder)
    assert state is not None
    assert isinstance(trained.variant, GANEncoder)
    assert same(trained.variant.gan.state_dict(), gan.state_dict())
    assert all(torch.equal(state["weights"][f"gan.{name}"], tensor) for name, tensor in gan.state_dict().items())

    lines = read_metrics(run_folder)
    losses = [line.values["encoder_loss"] for line in lines if line.split == "train"]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    assert evaluation["test"]["codings_mse"] < 1
    assert f"{evaluation['test']['encoder_mse']:.4f}" in result.out
    assert (run_folder / "grids/reconstructions-000011512.png").is_file()
    assert not (run_folder / "timelapse.webp").exists(), "samples do not change"
    report = (run_folder / "report.html").read_text()
    assert "encoder_mse" in report
    assert "encoded and generated again" in report

    version = gan_run.parents[1] / "models/numbers/2"
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["variant"] == "gan-encoder"
    assert {graph["file"] for graph in manifest["graphs"]} == {"encoder.onnx", "decoder.onnx", "critic.onnx"}
    assert "CAPABILITY_ENCODE" in manifest["capabilities"]
    assert "&& latentry-train fit-encoder runs/gan-quick-001 " in (version / "README.md").read_text()


def test_a_dry_run_makes_nothing(latentry_train: Command, tmp_path: Path, gan_run: Path) -> None:
    result = latentry_train("fit-encoder", str(gan_run), "--model.pixel_weight", "0", "--dry-run")
    assert result.status == 0
    config = json.loads(result.out)
    assert config["model"]["pixel_weight"] == 0
    assert config["model"]["gan"] == json.loads((gan_run / "config.json").read_text())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.gan.model.codings_size", "7"], "option --model.gan.model.codings_size: the GAN is trained already"),
        (["--data.name", "fashion-mnist"], "option --data.name: the GAN is trained already"),
        (["--model.filter", "8"], "unknown option --model.filter; did you mean model.filters"),
        (["--model.pixel_weight", "-1"], "option --model.pixel_weight"),
        (["--model.filters", "8,8,8,8"], "takes images of at least 16 x 16 pixels"),
        (["--training.batch_size", "5000"], "option --training.batch_size: expected at most the 1439 training images"),
        (["--name", "../escape"], "model name '../escape'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    latentry_train: Command, tmp_path: Path, gan_run: Path, options: list[str], message: str
) -> None:
    result = latentry_train("fit-encoder", str(gan_run), *options)
    assert result.status == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_runs_that_have_no_gan_to_give_are_refused(latentry_train: Command, tmp_path: Path, gan_run: Path) -> None:
    unfinished, other = tmp_path / "gan-quick-009", tmp_path / "stacked-001"
    for folder in (unfinished, other):
        folder.mkdir()
        (folder / "destination.json").write_text((gan_run / "destination.json").read_text())
    (unfinished / "config.json").write_text((gan_run / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({"preset": "stacked", "variant": "stacked", "model": {}}))
    for folder, message in (
        (tmp_path / "nowhere", "is not a run folder"),
        (unfinished, "has no checkpoint yet; go on with: latentry-train resume"),
        (other, "an encoder is fitted to a GAN, and stacked is none"),
    ):
        result = latentry_train("fit-encoder", str(folder))
        assert result.status == 2
        assert message in result.err


def test_data_that_are_gone_or_others_are_refused(latentry_train: Command, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    data = ["--data.name", "npz", "--data.path", "mine.npz"]
    assert (
        latentry_train("run", "gan-quick", *data, "--training.num_epochs", "1", "--training.batch_size", "50").status
        == 0
    )
    small = ["--training.batch_size", "50"]
    np.savez(tmp_path / "mine.npz", images=255 - images)
    result = latentry_train("fit-encoder", "runs/gan-quick-001", *small)
    assert result.status == 2
    assert "the GAN was trained on other images than those of npz" in result.err
    (tmp_path / "mine.npz").unlink()
    result = latentry_train("fit-encoder", "runs/gan-quick-001", *small)
    assert result.status == 2
    assert "option --data.path: cannot read" in result.err
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["gan-quick-001"]
