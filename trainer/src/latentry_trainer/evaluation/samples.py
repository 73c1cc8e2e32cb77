"""How close samples come to images, by what a classifier of our own sees in both."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentry_trainer.data import Dataset, Split, to_floats
from latentry_trainer.evaluation.distances import (
    MIN_ROWS,
    FeatureSet,
    frechet_distance,
    kernel_distance,
    neighbourhood_figures,
)
from latentry_trainer.evaluation.features import FeatureNetwork, fashion_mnist_network
from latentry_trainer.evaluation.subject import Subject
from latentry_trainer.variants import Generative

_MAX_SAMPLES = 10_000
_BATCH_ROWS = 1_000
_NOISE_SEED = 0


def watch_samples(subject: Subject) -> dict[str, float]:
    """What tells after an epoch how close samples have come: fcd and `class_figures`, where `measure_samples` can."""
    if not (network := _network_for(subject)):
        return {}
    features, probabilities = network(_draw(subject)[0])
    if not features.isfinite().all():
        return {"fcd": math.nan}
    reals = _anchors(network, subject.dataset, subject.split).reals
    return {"fcd": frechet_distance(FeatureSet(features=features), reals), **class_figures(probabilities)}


def measure_samples(subject: Subject) -> dict[str, float]:
    """`sample_figures` of as many samples as the split has images, at most 10 000, against those images.

    Each has a `_floor`, what training images get in the samples' place, and a `_ceiling`, what uniform noise gets. Of
    models that sample, on images that the classifier knows and that are at least `MIN_ROWS` in number. Of models that
    take labels, label_accuracy too: part of the samples that the classifier takes for the class that was asked for.
    """
    if not (network := _network_for(subject)):
        return {}
    anchors = _anchors(network, subject.dataset, subject.split)
    samples, labels = _draw(subject)
    features, probabilities = network(samples)
    is_right = None if labels is None else probabilities.argmax(dim=1) == labels
    return {
        **sample_figures(features, probabilities, anchors.reals),
        **({} if is_right is None else {"label_accuracy": is_right.double().mean().item()}),
        **{f"{name}_floor": value for name, value in anchors.floors.items()},
        **{f"{name}_ceiling": value for name, value in anchors.ceilings.items()},
    }


def _network_for(subject: Subject) -> FeatureNetwork | None:
    """The classifier that samples of the variant can be judged by, and None where there is none."""
    if not isinstance(subject.variant, Generative) or not subject.variant.can_sample:
        return None
    network = fashion_mnist_network()
    num_images = min(len(subject.images), len(subject.dataset.images_of("train")))
    return network if network.knows(subject.dataset) and num_images >= MIN_ROWS else None


def _draw(subject: Subject) -> tuple[Tensor, Tensor | None]:
    """As many samples as the split has images, at most 10 000, on the CPU, and the labels that they were drawn for."""
    variant = subject.variant
    assert isinstance(variant, Generative), "others do not sample"
    generator = subject.generator()
    samples, labels = [], []
    for batch in torch.split(subject.images[:_MAX_SAMPLES], _BATCH_ROWS):
        rows_labels = variant.labels_in_turn(len(batch))
        samples.append(variant.sample(len(batch), generator, rows_labels).cpu())
        labels += [] if rows_labels is None else [rows_labels.cpu()]
    return torch.cat(samples), torch.cat(labels) if labels else None


def sample_figures(features: Tensor, probabilities: Tensor, reals: FeatureSet) -> dict[str, float]:
    """Figures of what the classifier makes of samples, features [N, F] and probabilities [N, K], against real images.

    - fcd, kid: see `frechet_distance` and `kernel_distance`;
    - precision, recall, density, coverage: see `neighbourhood_figures`;
    - smallest_class_share, class_entropy_nats: see `class_figures`.
    """
    seen = FeatureSet(features=features)
    return {
        "fcd": frechet_distance(seen, reals),
        "kid": kernel_distance(seen, reals),
        **neighbourhood_figures(seen, reals),
        **class_figures(probabilities),
    }


def class_figures(probabilities: Tensor) -> dict[str, float]:
    """How evenly samples fall into classes, from the probabilities [N, K] that are predicted for them.

    - smallest_class_share: part of the samples in the rarest class, 0 where one is missing;
    - class_entropy_nats: entropy of the mean prediction, ln K where all classes are as likely.
    """
    num_rows, num_classes = probabilities.shape
    counts = probabilities.argmax(dim=1).bincount(minlength=num_classes)
    return {
        "smallest_class_share": counts.min().item() / num_rows,
        "class_entropy_nats": torch.special.entr(probabilities.double().mean(dim=0)).sum().item(),
    }


@dataclass(frozen=True, kw_only=True)
class _Anchors:
    """What samples are held against: a split's images, and the best and the worst figures to expect."""

    reals: FeatureSet
    floors: dict[str, float]
    ceilings: dict[str, float]


_known_anchors: dict[tuple[str, Split], _Anchors] = {}


def _anchors(network: FeatureNetwork, dataset: Dataset, split: Split) -> _Anchors:
    """A split's anchors, made once a process: they take longer than a model's own figures."""
    key = (dataset.sha256, split)
    if key not in _known_anchors:
        _known_anchors[key] = _make_anchors(network, dataset, split)
    return _known_anchors[key]


def _make_anchors(network: FeatureNetwork, dataset: Dataset, split: Split) -> _Anchors:
    images = to_floats(dataset.images_of(split)[:_MAX_SAMPLES])
    reals = FeatureSet(features=network(images)[0])
    others = to_floats(dataset.images_of("train")[: len(images)])
    noise = torch.rand(images.shape, generator=Generator().manual_seed(_NOISE_SEED))
    return _Anchors(
        reals=reals,
        floors=sample_figures(*network(others), reals),
        ceilings=sample_figures(*network(noise), reals),
    )
