"""What a variant is: networks, and the objectives that train them, side by side.

The training loop, the evaluation and the export know variants through this file only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from latentry_trainer.config import TrainingConfig, VariantConfig

Objective = Callable[[Tensor, Generator], Tensor]
"""(inputs [N, *input] in [0, 1], source of randomness) -> the loss, a scalar: the mean over the rows."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimiser's update inside a step."""

    name: str
    """Name in metrics: `autoencoder`, `critic` …"""
    module: nn.Module
    """The networks whose weights the optimiser moves."""
    objective: Objective
    """What it minimises."""
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
        input_shape: Shape of one image, (channels, height, width).
    """

    Config: ClassVar[type[VariantConfig]]
    """The variant's own options."""
    capabilities: ClassVar[frozenset[str]]
    """The operations that its graphs allow: names of `latentry.v1.Capability` without the prefix."""

    def __init__(self, config: VariantConfig, input_shape: tuple[int, ...]) -> None:  # noqa: ARG002 (every variant takes it)
        super().__init__()
        self.input_shape = input_shape

    @property
    @abstractmethod
    def codings_shape(self) -> tuple[int, ...]:
        """Shape of one row of codings."""

    @abstractmethod
    def decode(self, codings: Tensor) -> Tensor:
        """Codings [N, *codings] -> images [N, *input]."""

    def sample(self, num_rows: int, generator: Generator) -> Tensor:
        """Draws images [num_rows, *input]: decodes codings ~ N(0, I)."""
        return self.decode(torch.randn(num_rows, *self.codings_shape, generator=generator, device=generator.device))

    @abstractmethod
    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """How the variant is trained."""

    @abstractmethod
    def validation_metrics(self, inputs: Tensor, generator: Generator) -> Mapping[str, Tensor]:
        """Figures of a batch [N, *input], each a scalar: the mean over the rows. Empty where nothing is comparable."""

    @abstractmethod
    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The networks to export, one a role, in eval mode."""
