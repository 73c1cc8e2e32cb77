"""The convolutional classifier, what is published of it, and the one that comes with the package."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.data import load_dataset, npz, to_floats
from latentry_trainer.evaluation import features
from latentry_trainer.evaluation.features import FeatureNetwork, fashion_mnist_network
from latentry_trainer.presets import PRESETS
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import Batch
from latentry_trainer.variants.classifier import ConvClassifier
from torch import Generator, Tensor
from torch.nn import functional

from tests.trainer.command import Command

PACKAGED = Path(features.__file__).parent / "fashion_mnist_classifier"


def build(input_shape: tuple[int, ...] = (1, 8, 8), *, dropout: float = 0.0, mirror: bool = False) -> ConvClassifier:
    """Always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ConvClassifier.Config(filters=(4, 4), features_size=6, dropout=dropout, mirror=mirror)
        return ConvClassifier(config, input_shape, 3)


def batch(inputs: Tensor) -> Batch:
    labels = torch.arange(len(inputs)) % 3
    return Batch(inputs=inputs, labels=labels, generator=Generator().manual_seed(7))


def images(*shape: int) -> Tensor:
    return torch.rand(32, *shape, generator=Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 8), (5,)])
def test_it_gives_probabilities_and_features_of_images_and_vectors(shape: tuple[int, ...]) -> None:
    variant = build(shape)
    (graph,) = variant.graph_modules()
    assert [(tensor.name, tensor.shape) for tensor in graph.outputs] == [("probabilities", (3,)), ("features", (6,))]
    probabilities, values = graph.module(images(*shape))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(32))
    torch.testing.assert_close(probabilities, variant.classes(values).softmax(dim=1))


def test_its_loss_and_figures_are_those_of_its_probabilities() -> None:
    variant = build()
    rows = batch(images(1, 8, 8))
    (graph,) = variant.graph_modules()
    probabilities, _ = graph.module(rows.inputs)
    assert rows.labels is not None
    expected = -probabilities[torch.arange(32), rows.labels].log().mean()
    figures = variant.validation_metrics(rows)
    torch.testing.assert_close(variant.loss(rows), expected)
    torch.testing.assert_close(figures["cross_entropy"], expected)
    assert figures["accuracy"].item() == (probabilities.argmax(dim=1) == rows.labels).sum().item() / 32


def test_it_learns_from_images_half_of_them_mirrored() -> None:
    inputs = images(1, 8, 8)
    is_mirrored = batch(inputs).uniforms(1, 1, 1).flatten() < 0.5
    assert 0 < is_mirrored.sum() < 32
    expected = inputs.clone()
    expected[is_mirrored] = inputs[is_mirrored].flip(3)
    torch.testing.assert_close(build(mirror=True).loss(batch(inputs)), build().loss(batch(expected)))


def test_it_learns_from_features_some_of_them_dropped() -> None:
    variant = build(dropout=0.5)
    rows = batch(images(1, 8, 8))
    is_kept = batch(rows.inputs).uniforms(6) >= 0.5
    kept = torch.where(is_kept, 2 * variant.features(rows.inputs), torch.zeros(()))
    assert rows.labels is not None
    torch.testing.assert_close(variant.loss(rows), functional.cross_entropy(variant.classes(kept), rows.labels))


def test_vectors_are_not_mirrored() -> None:
    with pytest.raises(ValueError, match=r"option --model\.mirror: the data set has vectors"):
        build((5,), mirror=True)


def test_a_run_publishes_a_classifier_with_the_labels_names(
    latentry_train: Command, tmp_path: Path, slice_path: Path
) -> None:
    options = ["--data.name", "npz", "--data.path", str(slice_path), "--training.num_epochs", "2"]
    result = latentry_train("run", "classifier-quick", *options)
    assert result.status == 0, result.err
    bundle = tmp_path / "models/classifier-quick/1"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["capabilities"] == ["CAPABILITY_CLASSIFY"]
    assert manifest["label_names"] == [str(label) for label in range(10)]
    accuracy = {metric["split"]: metric["value"] for metric in manifest["metrics"] if metric["name"] == "accuracy"}
    assert min(accuracy["validation"], accuracy["test"]) >= 0.5, "guessing gets 0.1"

    trained = load_trained(tmp_path / "runs/classifier-quick-001").variant
    inputs = to_floats(npz.load(slice_path).images_of("test"))
    (graph,) = trained.graph_modules()
    with torch.no_grad():
        expected_probabilities, expected_features = graph.module(inputs)
    values, probabilities = FeatureNetwork(bundle)(inputs)
    torch.testing.assert_close(probabilities, expected_probabilities, rtol=0, atol=1e-5)
    torch.testing.assert_close(values, expected_features.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "variant classifier is trained on labels, and data set npz has none"),
        (np.full(100, 2), "all 80 training images of data set npz are of the class '2'"),
    ],
)
def test_data_that_teaches_no_classes_is_refused_before_anything_is_made(
    latentry_train: Command, tmp_path: Path, labels: np.ndarray | None, message: str
) -> None:
    arrays = {"images": np.random.default_rng(0).integers(256, size=(100, 28, 28), dtype=np.uint8)}
    np.savez(tmp_path / "mine.npz", **arrays | ({} if labels is None else {"labels": labels}))
    result = latentry_train("run", "classifier", "--data.name", "npz", "--data.path", "mine.npz")
    assert result.status == 2
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]


def test_the_packaged_classifier_is_the_presets_and_knows_its_images(slice_path: Path) -> None:
    manifest = json.loads((PACKAGED / "manifest.json").read_text())
    configuration = manifest["provenance"]["configuration"]
    assert configuration["preset"] == manifest["preset"] == "classifier"
    preset = PRESETS["classifier"].config
    assert configuration["training"]["num_epochs"] == preset.training.num_epochs
    assert configuration["training"]["optimizer"]["learning_rate"] == preset.training.optimizer.learning_rate
    assert manifest["provenance"]["dataset_sha256"] == load_dataset(preset.data).sha256
    assert (PACKAGED / "classifier.onnx").stat().st_size < 600_000

    dataset = npz.load(slice_path)
    _, probabilities = fashion_mnist_network()(to_floats(dataset.images))  # refuses a graph without its SHA-256
    assert dataset.labels is not None
    accuracy = (probabilities.argmax(dim=1) == dataset.labels).float().mean().item()
    assert accuracy >= 0.9
    measured = {metric["split"]: metric["value"] for metric in manifest["metrics"] if metric["name"] == "accuracy"}
    assert measured["test"] >= 0.9
