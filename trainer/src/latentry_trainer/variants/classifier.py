"""Classifiers: what all of them share, and a small convolutional one."""

from collections.abc import Mapping
from math import ceil
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Count, Fraction, Sizes, TrainingConfig, VariantConfig
from latentry_trainer.variants.base import Batch, ExportGraph, GraphTensor, Phase, Stage, Variant
from latentry_trainer.variants.layers import dense, linear


class Classifier(Variant):
    """A network that gives features, and a dense layer that makes classes of them."""

    capabilities = frozenset({"CLASSIFY"})
    needs_labels: ClassVar[bool] = True
    features: nn.Module
    """Images [N, *input] -> features [N, features_size]: the last hidden layer."""
    classes: nn.Linear
    """Features [N, features_size] -> logits [N, num_labels]."""

    def loss(self, batch: Batch) -> Tensor:
        """The objective of a batch, a scalar: the cross-entropy of its labels."""
        return functional.cross_entropy(self.classes(self.features(batch.inputs)), labels_of(batch))

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage of one phase."""
        phase = Phase(name="classifier", module=self, objective=self.loss, optimizer=training.optimizer)
        return (Stage(name="joint", num_epochs=training.num_epochs, phases=(phase,)),)

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy in nats, and the part of the images whose likeliest class is their label."""
        labels = labels_of(batch)
        logits = self.classes(self.features(batch.inputs))
        return {
            "cross_entropy": functional.cross_entropy(logits, labels),
            "accuracy": (logits.argmax(dim=1) == labels).float().mean(),
        }

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The classifier, which gives its features too."""
        outputs = (
            GraphTensor(name="probabilities", shape=(self.classes.out_features,)),
            GraphTensor(name="features", shape=(self.classes.in_features,)),
        )
        inputs = (GraphTensor(name="inputs", shape=self.input_shape),)
        module = _Classify(self.features, self.classes).eval()
        return (ExportGraph(role="classifier", module=module, inputs=inputs, outputs=outputs),)


class ConvClassifier(Classifier):
    """Convolutions, each with a max pooling behind it, and dropout of the features (Srivastava et al. 2014).

    Vectors go to the dense layers at once.
    """

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of the convolutional classifier."""

        channels: Sizes = (16, 32, 64)
        """Channels of the convolutions; each halves width and height."""
        features_size: Count = 64
        """Length of the last hidden layer."""
        dropout: Fraction = 0.5
        """Part of the features that is set to zero in training."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int) -> None:
        super().__init__(config, input_shape, num_labels)
        self.dropout = config.dropout
        body, num_values = _convolutions(config.channels, input_shape)
        self.features = nn.Sequential(*body, nn.Flatten(), dense((num_values, config.features_size), "relu"))
        self.features.to(memory_format=torch.channels_last)
        self.classes = linear(config.features_size, num_labels)

    def loss(self, batch: Batch) -> Tensor:
        """The cross-entropy of a batch's labels, features dropped at random."""
        features = self.features(batch.inputs)
        is_kept = batch.uniforms(self.classes.in_features) >= self.dropout
        return functional.cross_entropy(self.classes(features * is_kept / (1 - self.dropout)), labels_of(batch))


class _Classify(nn.Module):
    """Images [N, *input] -> probabilities [N, num_labels] and features [N, features_size]."""

    def __init__(self, features: nn.Module, classes: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classes = classes

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(inputs)
        return self.classes(features).softmax(dim=1), features


def labels_of(batch: Batch) -> Tensor:
    """The labels of a batch, int64 [N]."""
    assert batch.labels is not None, "a run is refused where labels are needed and missing"
    return batch.labels


def _convolutions(channels: Sizes, input_shape: tuple[int, ...]) -> tuple[list[nn.Module], int]:
    """The layers before the dense ones, and the number of values that they make of an image or a vector."""
    if len(input_shape) == 1:
        return [], input_shape[0]
    num_inputs, height, width = input_shape
    layers: list[nn.Module] = []
    for num_outputs in channels:
        # Half sizes are rounded up: images of any size keep a pixel.
        pool = nn.MaxPool2d(2, ceil_mode=True)
        layers += [nn.Conv2d(num_inputs, num_outputs, kernel_size=3, padding=1), nn.ReLU(), pool]
        num_inputs, height, width = num_outputs, ceil(height / 2), ceil(width / 2)
    return layers, num_inputs * height * width
