from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.data import Dataset
from latentry_trainer.evaluation import Subject, samples
from latentry_trainer.evaluation.distances import MIN_ROWS
from latentry_trainer.evaluation.features import FeatureNetwork
from latentry_trainer.evaluation.samples import class_figures, measure_samples, watch_samples
from latentry_trainer.variants import Generative
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from torch import Generator, Tensor

from tests.trainer.classifiers import named, trained, write_classifier

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)
NAMES = {
    "fcd",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "smallest_class_share",
    "class_entropy_nats",
}


class CountingNetwork(FeatureNetwork):
    """Counts the images that it is shown."""

    num_seen = 0

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.num_seen += len(images)
        return super().__call__(images)


@pytest.fixture(scope="module")
def bundle(slice_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    with np.load(slice_path) as arrays:
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    write_classifier(folder, trained(images[:1500].reshape(-1, *SHAPE) / 255, labels[:1500].long()))
    return folder


@pytest.fixture
def network(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> CountingNetwork:
    """A small classifier in the place of the real one, and nothing remembered of other tests."""
    network = CountingNetwork(bundle)
    monkeypatch.setattr(samples, "fashion_mnist_network", lambda: network)
    monkeypatch.setattr(samples, "_known_anchors", {})
    return network


@pytest.fixture
def dataset(slice_path: Path) -> Dataset:
    """1 500 real images to train on, and 1 500 others."""
    with np.load(slice_path) as arrays:
        images = torch.from_numpy(arrays["images"]).reshape(-1, *SHAPE)
    return named("fashion-mnist", images)


class Replay(GAN):
    """Samples a given stack of images, in order."""

    stack: Tensor

    def sample(self, num_rows: int, generator: Generator, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        rows, self.stack = self.stack[:num_rows], self.stack[num_rows:]
        return rows


def replay(images: Tensor) -> Replay:
    variant = Replay(Replay.Config(), SHAPE)
    variant.stack = images.float() / 255
    return variant


def figures_of(variant: Generative, dataset: Dataset) -> dict[str, float]:
    with torch.no_grad():
        return measure_samples(Subject(variant=variant.eval(), dataset=dataset, split="validation", device=CPU))


@pytest.mark.usefixtures("network")
def test_the_real_images_as_samples(dataset: Dataset) -> None:
    figures = figures_of(replay(dataset.images_of("validation").flip(0)), dataset)
    assert set(figures) == NAMES | {f"{name}_floor" for name in NAMES} | {f"{name}_ceiling" for name in NAMES}
    assert figures["fcd"] == pytest.approx(0, abs=1e-6)
    assert figures["precision"] == figures["recall"] == figures["coverage"] == 1


@pytest.mark.usefixtures("network")
def test_training_images_as_samples_reach_the_floor(dataset: Dataset) -> None:
    figures = figures_of(replay(dataset.images_of("train")), dataset)
    for name in NAMES:
        assert figures[name] == figures[f"{name}_floor"]


@pytest.mark.usefixtures("network")
def test_noise_as_samples_is_at_the_ceiling(dataset: Dataset) -> None:
    noise = torch.randint(0, 256, (1500, *SHAPE), generator=Generator().manual_seed(3))
    figures = figures_of(replay(noise), dataset)
    assert figures["fcd"] == pytest.approx(figures["fcd_ceiling"], rel=0.1)
    assert figures["fcd"] > 20 * figures["fcd_floor"]
    assert figures["kid"] > 20 * abs(figures["kid_floor"])  # of sixth moments: two noises differ by more
    for name in ("recall", "coverage"):
        assert figures[name] < 0.1 < 0.5 < figures[f"{name}_floor"]
    for name in ("precision", "density"):  # outliers among the images have balls that hold noise too
        assert figures[name] < figures[f"{name}_floor"]


@pytest.mark.usefixtures("network")
def test_a_collapsed_generator_recalls_little(dataset: Dataset) -> None:
    figures = figures_of(replay(dataset.images_of("validation")[:15].repeat(100, 1, 1, 1)), dataset)
    assert figures["precision"] == 1
    assert figures["recall"] <= 15 / 1500
    assert figures["fcd"] > 5 * figures["fcd_floor"]


def test_after_an_epoch_the_same_distance_is_watched(network: CountingNetwork, dataset: Dataset) -> None:
    subject = Subject(variant=GAN(GAN.Config(), SHAPE).eval(), dataset=dataset, split="validation", device=CPU)
    with torch.no_grad():
        watched, measured = watch_samples(subject), measure_samples(subject)
    assert watched == {name: measured[name] for name in ("fcd", "smallest_class_share", "class_entropy_nats")}
    assert network.num_seen == 5 * 1500  # images, training images, noise, and samples twice


@pytest.mark.usefixtures("network")
def test_samples_that_are_not_numbers_have_no_distance(dataset: Dataset) -> None:
    gan = GAN(GAN.Config(), SHAPE)
    torch.nn.init.constant_(next(gan.generator.parameters()), float("nan"))
    with torch.no_grad():
        figures = watch_samples(Subject(variant=gan.eval(), dataset=dataset, split="validation", device=CPU))
    assert np.isnan(figures["fcd"])


@pytest.mark.usefixtures("network")
def test_the_label_accuracy_is_that_of_the_classifier_on_what_was_asked_for(dataset: Dataset, bundle: Path) -> None:
    reals, labels = dataset.images_of("validation"), FeatureNetwork(bundle)(dataset.images_of("validation") / 255)[1]
    rows = torch.stack([reals[labels.argmax(dim=1) == label][0] for label in range(10)])
    right, wrong = (_Labelled(rows.roll(shift, dims=0) / 255) for shift in (0, 1))
    assert figures_of(right, dataset)["label_accuracy"] == 1
    assert figures_of(wrong, dataset)["label_accuracy"] == 0


class _Labelled(GAN):
    """Samples a given image for each label."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(GAN.Config(conditional=True), SHAPE, len(images))
        self.images = images

    def sample(self, num_rows: int, generator: Generator, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        assert labels is not None
        return self.images[labels]


def test_floor_and_ceiling_are_computed_once_a_split(network: CountingNetwork, dataset: Dataset) -> None:
    gan = GAN(GAN.Config(), SHAPE)
    first = figures_of(gan, dataset)
    assert network.num_seen == 4 * 1500  # images, training images, noise, samples
    assert figures_of(gan, named("fashion-mnist", dataset.images.clone())) == first
    assert network.num_seen == 5 * 1500


@pytest.mark.usefixtures("network")
def test_only_of_models_that_sample_images_that_the_classifier_knows(dataset: Dataset) -> None:
    gan = GAN(GAN.Config(), SHAPE)
    assert figures_of(gan, named("npz", dataset.images)) == {}
    assert figures_of(Stacked(Stacked.Config(), SHAPE), dataset) == {}
    assert figures_of(gan, dataset.with_first_train_images(MIN_ROWS - 1)) == {}


def test_classes_of_samples() -> None:
    even = torch.eye(4).repeat(5, 1)
    assert class_figures(even) == pytest.approx({"smallest_class_share": 0.25, "class_entropy_nats": log(4)})
    uneven = torch.eye(4)[[0, 0, 0, 1, 1, 1, 2, 2, 2, 3]]
    assert class_figures(uneven)["smallest_class_share"] == pytest.approx(0.1)
    missing = torch.eye(4)[[0, 0, 1, 1]]
    assert class_figures(missing) == pytest.approx({"smallest_class_share": 0, "class_entropy_nats": log(2)})
    unsure = torch.full((6, 4), 0.25)
    assert class_figures(unsure)["class_entropy_nats"] == pytest.approx(log(4))
