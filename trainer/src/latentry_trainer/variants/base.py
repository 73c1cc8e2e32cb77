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


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run, with its own phases."""

    name: str
    """Name in logs."""
    num_epochs: int
    """Passes over the training images."""
    phases: tuple[Phase, ...]
    """Run in this order in each step."""


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
        num_labels: Number of classes; only variants that need labels take it.

    Raises:
        ValueError: The variant cannot take inputs of this shape; the message says which it can.
    """

    Config: ClassVar[type[VariantConfig]]
    """The variant's own options."""
    capabilities: ClassVar[frozenset[str]]
    """The operations that its graphs allow: names of `latentry.v1.Capability` without the prefix."""
    needs_labels: ClassVar[bool] = False
    """Whether its objectives use the batch's labels."""

    def __init__(self, config: VariantConfig, input_shape: tuple[int, ...], num_labels: int = 0) -> None:  # noqa: ARG002 (for those that need them)
        super().__init__()
        self.input_shape = input_shape

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

    @abstractmethod
    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The networks to export, one a role, in eval mode."""


class Generative(Variant):
    """A variant that makes images of codings."""

    @property
    @abstractmethod
    def codings_shape(self) -> tuple[int, ...]:
        """Shape of one row of codings."""

    @abstractmethod
    def decode(self, codings: Tensor) -> Tensor:
        """Codings [N, *codings] -> images [N, *input]."""

    @property
    def can_sample(self) -> bool:
        """Whether there is a prior to draw codings from."""
        return True

    def sample(self, num_rows: int, generator: Generator) -> Tensor:
        """Draws images [num_rows, *input]: decodes codings ~ N(0, I)."""
        return self.decode(torch.randn(num_rows, *self.codings_shape, generator=generator, device=generator.device))
