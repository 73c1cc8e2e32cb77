"""Classifiers: what all of them share, and a small convolutional one."""

from collections.abc import Mapping

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Count, Fraction, TrainingConfig, VariantConfig
from latentry_trainer.variants.base import Batch, ExportGraph, GraphTensor, Phase, Stage, Variant
from latentry_trainer.variants.conv import Filters, image_features
from latentry_trainer.variants.layers import linear


class Classifier(Variant):
    """A network that gives features, and a dense layer that makes classes of them."""

    features: nn.Module
    """Images [N, *input] -> features [N, features_size]: the last hidden layer."""
    classes: nn.Linear
    """Features [N, features_size] -> logits [N, num_labels]."""

    @classmethod
    def needs_labels(cls, config: VariantConfig) -> bool:  # noqa: ARG003 (all of them do)
        """They all are."""
        return True

    @property
    def capabilities(self) -> frozenset[str]:
        """They classify."""
        return frozenset({"CLASSIFY"})

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
    """Pooled convolutions, a dense layer, and dropout of its features (Srivastava et al. 2014).

    Vectors go to the dense layer at once.
    """

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(VariantConfig):
        """Options of the convolutional classifier."""

        filters: Filters = (32, 64, 64)
        """Feature maps of the convolutions; each is followed by pooling."""
        features_size: Count = 64
        """Length of the last hidden layer."""
        dropout: Fraction = 0.4
        """Part of the features that is set to zero in training."""
        mirror: bool = False
        """Mirror every other image, left to right, in training: right where that leaves its class as it is."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int) -> None:
        super().__init__(config, input_shape, num_labels)
        if config.mirror and len(input_shape) == 1:
            raise ValueError("option --model.mirror: the data set has vectors, which have no left and right")
        self.config = config
        self.features = image_features(input_shape, config.filters, config.features_size, "relu")
        self.classes = linear(config.features_size, num_labels)

    def loss(self, batch: Batch) -> Tensor:
        """The cross-entropy of a batch's labels, images mirrored and features dropped at random."""
        inputs = batch.inputs
        if self.config.mirror:
            inputs = torch.where(batch.uniforms(1, 1, 1) < 0.5, inputs.flip(-1), inputs)
        features = self.features(inputs)
        is_kept = batch.uniforms(self.classes.in_features) >= self.config.dropout
        kept = features * is_kept / (1 - self.config.dropout)
        return functional.cross_entropy(self.classes(kept), labels_of(batch))


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
