from dataclasses import replace

import pytest
import torch
from latentry_trainer.data import Dataset
from latentry_trainer.evaluation import Subject
from latentry_trainer.evaluation.probe import measure_probe, probe_accuracy
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from torch import Tensor

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classes(num_rows: int, num_classes: int, seed: int = 0) -> Tensor:
    return torch.randint(num_classes, (num_rows,), generator=torch.Generator().manual_seed(seed))


def test_separable_codings_have_all_of_the_classes() -> None:
    centres = 10 * torch.eye(4)
    train_labels, labels = classes(200, 4), classes(100, 4, seed=1)
    train_codings = centres[train_labels] + normals(200, 4)
    codings = centres[labels] + normals(100, 4, seed=1)
    assert probe_accuracy(train_codings, train_labels, codings, labels) == 1


def test_scales_and_offsets_of_codings_do_not_matter() -> None:
    train_labels, labels = classes(200, 3), classes(300, 3, seed=1)
    train_codings = 2 * torch.eye(3)[train_labels] + normals(200, 3)
    codings = 2 * torch.eye(3)[labels] + normals(300, 3, seed=1)
    scale, offset = torch.tensor([1e-3, 1.0, 1e3]), torch.tensor([5.0, -5.0, 0.0])
    accuracy = probe_accuracy(train_codings, train_labels, codings, labels)
    assert 0.6 < accuracy < 0.95
    moved = probe_accuracy(train_codings * scale + offset, train_labels, codings * scale + offset, labels)
    assert moved == pytest.approx(accuracy, abs=0.01)


def test_codings_without_the_classes_give_chance() -> None:
    accuracy = probe_accuracy(normals(1000, 5), classes(1000, 4), normals(2000, 5, seed=1), classes(2000, 4, seed=1))
    assert accuracy == pytest.approx(0.25, abs=0.05)


@pytest.fixture
def dataset() -> Dataset:
    """Dark and bright images, and their brightness as label."""
    labels = classes(5200, 2)
    images = (labels[:, None, None, None] * 128).to(torch.uint8) + torch.randint(0, 100, (5200, *SHAPE)).to(torch.uint8)
    splits = {"train": slice(0, 5100), "validation": slice(5100, 5200)}
    return Dataset(name="own", images=images, labels=labels, label_names=("dark", "bright"), splits=splits)  # type: ignore[arg-type]


def accuracy_of(variant: Stacked | GAN, dataset: Dataset) -> dict[str, float]:
    with torch.no_grad():
        return measure_probe(Subject(variant=variant.eval(), dataset=dataset, split="validation", device=CPU))


@pytest.fixture
def stacked() -> Stacked:
    return Stacked(Stacked.Config(codings_size=4), SHAPE)


def test_an_encoder_of_what_tells_the_classes(stacked: Stacked, dataset: Dataset) -> None:
    assert accuracy_of(stacked, dataset) == {"probe_accuracy": 1}


def test_only_the_first_training_images_are_used(stacked: Stacked, dataset: Dataset) -> None:
    assert dataset.labels is not None
    before = accuracy_of(stacked, dataset)
    dataset.labels[5000:5100] = 1 - dataset.labels[5000:5100]
    assert accuracy_of(stacked, dataset) == before
    dataset.labels[:5000] = 1 - dataset.labels[:5000]
    assert accuracy_of(stacked, dataset) == {"probe_accuracy": 0}


def test_only_of_codings_of_images_in_two_classes(stacked: Stacked, dataset: Dataset) -> None:
    assert accuracy_of(stacked, replace(dataset, labels=None)) == {}
    assert accuracy_of(stacked, replace(dataset, labels=torch.full((5200,), 3))) == {}
    assert accuracy_of(GAN(GAN.Config(), SHAPE), dataset) == {}
