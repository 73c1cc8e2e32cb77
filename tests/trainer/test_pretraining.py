"""Classifiers that begin as an autoencoder's encoder, and the command that compares them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.config import RunConfig, TrainingConfig, from_dict, to_dict
from latentry_trainer.data import npz
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import Batch, EncoderClassifier
from latentry_trainer.variants.autoencoders import AUTOENCODERS
from PIL import Image
from torch import Generator, nn

from tests.trainer.command import Command

CLASSIFIERS = ("frozen", "fine-tuned", "from-scratch")


def build(name: str, *, num_frozen_epochs: int = 0) -> EncoderClassifier:
    autoencoder = RunConfig(preset=name, variant=name, model=AUTOENCODERS[name].Config())
    config = EncoderClassifier.Config(autoencoder=autoencoder, num_frozen_epochs=num_frozen_epochs)
    return EncoderClassifier(config, (1, 28, 28), 10)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters())


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_any_autoencoders_encoder_becomes_a_classifier_that_moves_it(name: str) -> None:
    variant = build(name)
    inputs = torch.rand(4, 1, 28, 28, generator=Generator().manual_seed(0))
    rows = Batch(inputs=inputs, labels=torch.arange(4), generator=Generator().manual_seed(0))
    variant.loss(rows).backward()  # type: ignore[no-untyped-call]
    moved = [weight.grad is not None and bool(weight.grad.any()) for weight in variant.autoencoder.encoder.parameters()]
    assert any(moved)
    (graph,) = variant.graph_modules()
    codings = variant.autoencoder.encode(inputs).flatten(1)
    expected = variant.classes(variant.hidden(codings)).softmax(dim=1)
    torch.testing.assert_close(graph.module(inputs)[0], expected)


@pytest.mark.parametrize(
    ("num_frozen_epochs", "stages"),
    [(0, [("fine-tuning", 5)]), (2, [("frozen", 2), ("fine-tuning", 3)]), (5, [("frozen", 5)]), (9, [("frozen", 5)])],
)
def test_frozen_epochs_come_first_and_move_the_dense_layers_alone(
    num_frozen_epochs: int, stages: list[tuple[str, int]]
) -> None:
    variant = build("stacked", num_frozen_epochs=num_frozen_epochs)
    got = variant.stages(TrainingConfig(num_epochs=5))
    assert [(stage.name, stage.num_epochs) for stage in got] == stages
    encoder = {id(weight) for weight in variant.autoencoder.encoder.parameters()}
    decoder = {id(weight) for weight in variant.autoencoder.decoder.parameters()}
    for stage in got:
        (phase,) = stage.phases
        moved = {id(weight) for weight in phase.module.parameters()}
        assert encoder <= moved if stage.name == "fine-tuning" else not encoder & moved
        assert not decoder & moved


def test_the_autoencoders_configuration_is_kept_whole() -> None:
    autoencoder = RunConfig(preset="vae", variant="vae", model=AUTOENCODERS["vae"].Config(codings_size=4))  # type: ignore[call-arg]
    model = EncoderClassifier.Config(autoencoder=autoencoder)
    config = RunConfig(preset="mine", variant="encoder-classifier", model=model)
    assert from_dict(json.loads(json.dumps(to_dict(config))), EncoderClassifier.Config) == config


def test_three_classifiers_are_trained_compared_and_the_best_is_published(
    latentry_train: Command, tmp_path: Path, slice_path: Path
) -> None:
    data = ["--data.name", "npz", "--data.path", str(slice_path)]
    assert latentry_train("run", "stacked-quick", *data).status == 0
    result = latentry_train("pretrain-classifier", "runs/stacked-quick-001", "--num-labels", "96")
    assert result.status == 0, result.err

    folder = tmp_path / "runs/pretrain-classifier-001"
    evaluations = json.loads((folder / "comparison.json").read_text())
    assert tuple(evaluations) == CLASSIFIERS
    with Image.open(folder / "comparison.png") as chart:
        chart.verify()
    for name in CLASSIFIERS:
        assert f"{evaluations[name]['test']['accuracy']:.4f}" in result.out

    best = max(CLASSIFIERS, key=lambda name: evaluations[name]["validation"]["accuracy"])
    manifest = json.loads((tmp_path / "models/pretrained-classifier/1/manifest.json").read_text())
    assert manifest["preset"] == f"classifier-{best}"
    assert manifest["capabilities"] == ["CAPABILITY_CLASSIFY"]
    assert manifest["label_names"] == [str(label) for label in range(10)]
    configuration = manifest["provenance"]["configuration"]
    assert configuration["model"]["autoencoder"]["preset"] == "stacked-quick"
    assert configuration["data"]["num_train_images"] == 96
    assert str(slice_path.parent) not in json.dumps(manifest), "strangers do not see where the data lay"

    encoder = weights_of(load_trained(tmp_path / "runs/stacked-quick-001").variant.encoder)  # type: ignore[arg-type]
    for name in CLASSIFIERS:
        trained = load_trained(folder / f"classifier-{name}-001")
        assert trained.position.images_seen == 40 * 96
        assert isinstance(trained.variant, EncoderClassifier)
        own = weights_of(trained.variant.autoencoder.encoder)
        distance = max((own[key] - encoder[key]).abs().max().item() for key in encoder)
        assert (distance == 0) == (name == "frozen")
        assert (distance < 0.1) == (name != "from-scratch"), "fine-tuning begins with the encoder, and moves it"

    other = next(name for name in CLASSIFIERS if name != best)  # measured, but not published
    again = latentry_train("resume", str(folder / f"classifier-{other}-001"))
    assert again.status == 0, again.err
    assert (tmp_path / "models/pretrained-classifier/2/manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "gan"], "pretraining needs an autoencoder, and gan is none"),
        (["--preset", "convolutional"], "unknown preset convolutional"),
        (["--num-labels", "31"], "option --num-labels: expected 32, a batch, to 55000, the training images of"),
        (["--num-labels", "55001"], "option --num-labels: expected 32, a batch, to 55000, the training images of"),
        (["--name", "../escape"], "model name '../escape'"),
        (["nowhere"], "nowhere is not a run folder"),
        (["nowhere", "--preset", "conv"], "expected a run folder or --preset, got both"),
    ],
)
def test_what_cannot_be_pretrained_is_refused_before_anything_is_made(
    latentry_train: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = latentry_train("pretrain-classifier", *arguments)
    assert result.status == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_an_autoencoder_of_data_without_labels_teaches_no_classifier(
    latentry_train: Command, tmp_path: Path, slice_path: Path
) -> None:
    with np.load(slice_path, allow_pickle=False) as archive:
        np.savez(tmp_path / "mine.npz", images=archive["images"][:100])
    options = ["--data.name", "npz", "--data.path", "mine.npz", "--training.num_epochs", "1"]
    assert latentry_train("run", "stacked", *options).status == 0
    result = latentry_train("pretrain-classifier", "runs/stacked-001", "--num-labels", "50")
    assert result.status == 2
    assert "variant encoder-classifier is trained on labels, and data set npz has none" in result.err


def test_training_images_can_be_the_first_few_alone(slice_path: Path) -> None:
    whole = npz.load(slice_path)
    few = whole.with_first_train_images(7)
    assert torch.equal(few.images_of("train"), whole.images_of("train")[:7])
    assert torch.equal(few.images_of("test"), whole.images_of("test"))
    assert few.sha256 == whole.sha256, "it is the same data set"
    with pytest.raises(ValueError, match=r"option --data\.num_train_images: data set npz has 2400 training images"):
        whole.with_first_train_images(2401)
