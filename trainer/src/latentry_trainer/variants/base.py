"""What a variant is: networks, and the objectives that train them, side by side.

The training loop, the evaluation and the export know variants through this file only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from latentry_trainer.config import OptimizerConfig, TrainingConfig, VariantConfig
from latentry_trainer.parallel import ALONE, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What an objective is computed on: rows of the data set, and a source of randomness for them.

    Where several processes share a batch, each has its own rows of it.
    """

    inputs: Tensor
    """Images [N, *input] in [0, 1]."""
    labels: Tensor | None = None
    """int64 [N]; None where the data set has none."""
    generator: Generator
    """On the inputs' device; the same in every process."""
    images_seen: int = 0
    """Images that the stage has shown before this batch."""
    progress: float = 0.0
    """The same as a part of all that the stage shows, in [0, 1)."""
    num_rows: int | None = None
    """Rows of all processes; None: these are all."""
    world: World = ALONE
    """The processes that share the batch."""

    def normals(self, *row_shape: int) -> Tensor:
        """Draws [N, *row_shape] from N(0, 1)."""
        shape = (self._num_rows, *row_shape)
        return self.world.own(torch.randn(shape, generator=self.generator, device=self.inputs.device))

    def uniforms(self, *row_shape: int) -> Tensor:
        """Draws [N, *row_shape] from U(0, 1)."""
        shape = (self._num_rows, *row_shape)
        return self.world.own(torch.rand(shape, generator=self.generator, device=self.inputs.device))

    def mean(self, rows: Tensor) -> Tensor:
        """The mean [*shape] over the batch of rows [N, *shape], those of other processes included."""
        return self.world.mean(rows, self._num_rows)

    def first_part(self, num_parts: int) -> "Batch":
        """The first of so many equal parts of the batch, its size rounded up; each process has its own rows of it."""
        num_rows = ceil(self._num_rows / num_parts)
        num_own = len(self.world.own(torch.empty(num_rows)))
        labels = None if self.labels is None else self.labels[:num_own]
        return replace(self, inputs=self.inputs[:num_own], labels=labels, num_rows=num_rows)

    @property
    def share(self) -> float:
        """These rows as a part of those of all processes."""
        return len(self.inputs) / self._num_rows

    @property
    def _num_rows(self) -> int:
        return len(self.inputs) if self.num_rows is None else self.num_rows


Objective = Callable[[Batch], Tensor]
"""A batch -> the loss, a scalar: the mean over the rows."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimiser's update inside a step."""

    name: str
    """Name in metrics: `autoencoder`, `critic` …"""
    module: nn.Module
    """The networks whose weights the optimiser moves."""
    objective: Objective
    """What it minimises."""
    optimizer: OptimizerConfig
    """How its weights are moved."""
    interval: int = 1
    """Run in every `interval`-th step."""
    after_step: Callable[[], None] | None = None
    """Called when the weights have been moved."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run, with its own phases."""

    name: str
    """Name in logs."""
    num_epochs: int
    """Passes over the training images."""
    phases: tuple[Phase, ...]
    """Run in this order in each step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Style:
    """What a bundle says of a style-based generator."""

    num_layers: int
    """Number of layers that take a style, the coarsest first."""
    mean_style: Tensor
    """The moving average of the styles seen in training, [W]."""


@dataclass(frozen=True, kw_only=True)
class GraphTensor:
    """An input or output of an exported graph."""

    name: str
    """The role's fixed name: `inputs`, `codings`, `outputs` …"""
    shape: tuple[int, ...]
    """Shape of one row, without the batch axis."""
    dtype: torch.dtype = torch.float32
    """Type of the elements."""


@dataclass(frozen=True, kw_only=True)
class ExportGraph:
    """A network to export under a role of the bundle."""

    role: str
    """`encoder`, `decoder`, `denoiser`, `critic` …"""
    module: nn.Module
    """In eval mode; takes the inputs in order and returns the output, or a tuple of the outputs in order."""
    inputs: tuple[GraphTensor, ...]
    """What it takes."""
    outputs: tuple[GraphTensor, ...]
    """What it returns."""


class Variant(nn.Module, ABC):
    """A kind of model. Images are float32 [N, *input] in [0, 1] wherever a method takes or returns them.

    Args:
        config: The variant's own options, of the type `Config`.
        input_shape: Shape of one image, (channels, height, width), or of one vector, (values,).
        num_labels: Number of classes; only variants whose options need labels take it.

    Raises:
        ValueError: The variant cannot take inputs of this shape; the message says which it can.
    """

    Config: ClassVar[type[VariantConfig]]
    """The variant's own options."""
    best_by: ClassVar[str | None] = None
    """The validation figure, lower is better, by which the best epoch is kept; None: the last epoch is."""

    def __init__(self, config: VariantConfig, input_shape: tuple[int, ...], num_labels: int = 0) -> None:  # noqa: ARG002 (for those that need them)
        super().__init__()
        self.input_shape = input_shape

    @classmethod
    def needs_labels(cls, config: VariantConfig) -> bool:  # noqa: ARG003 (for those that may)
        """Whether a variant with these options is trained on labels."""
        return False

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """The operations that its graphs allow: names of `latentry.v1.Capability` without the prefix."""

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """Shape of one row of codings; empty where there are none."""
        return ()

    def check_training(self, training: TrainingConfig, num_images: int) -> None:
        """Refuses a training on so many images that contradicts the variant's options.

        Raises:
            ValueError: It does; the message names the option.
        """

    @abstractmethod
    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """How the variant is trained."""

    @abstractmethod
    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """Figures of a batch, each a scalar: the mean over the rows. Empty where nothing is comparable."""

    def anomaly_scores(self, batch: Batch) -> Tensor | None:  # noqa: ARG002 (for those that have some)
        """How unusual each row of a batch is, [N], higher is more so; None where the model has no such score."""
        return None

    @property
    def style(self) -> Style | None:
        """Of style-based generators only."""
        return None

    @abstractmethod
    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The networks to export, one a role, in eval mode."""


class Generative(Variant):
    """A variant that makes images of codings."""

    num_labels: int = 0
    """Number of classes that it makes images of by their labels; 0: it takes no labels."""

    @property
    @abstractmethod
    def codings_shape(self) -> tuple[int, ...]:
        """Shape of one row of codings."""

    @abstractmethod
    def decode(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings [N, *codings], and labels [N] where it takes some -> images [N, *input]."""

    @property
    def can_sample(self) -> bool:
        """Whether there is a prior to draw codings from."""
        return True

    def sample(self, num_rows: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """Draws images [num_rows, *input]: decodes codings ~ N(0, I).

        Args:
            num_rows: How many.
            generator: On the variant's device.
            labels: int64 [num_rows], where it takes some; None: each class in turn.
        """
        codings = torch.randn(num_rows, *self.codings_shape, generator=generator, device=generator.device)
        return self.decode(codings, self.labels_in_turn(num_rows) if labels is None else labels)

    def labels_in_turn(self, num_rows: int) -> Tensor | None:
        """Labels 0, 1, … again and again, int64 [num_rows], on the variant's device; None where it takes none."""
        if not self.num_labels:
            return None
        return torch.arange(num_rows, device=next(self.parameters()).device) % self.num_labels
