"""Sparse autoencoders: few of many codings are active (Ng 2011, lecture notes CS294A; Goodfellow et al. 2016, 14.2)."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from latentry_trainer.config import STRICT, Count, Positive
from latentry_trainer.variants.base import Batch
from latentry_trainer.variants.stacked import Stacked

_ACTIVE = 0.1  # a coding in [0, 1] above this counts as active


class Sparse(Stacked):
    """A stacked autoencoder with many codings in [0, 1] and a penalty on active ones."""

    codings_activation = "sigmoid"

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of sparse autoencoders."""

        codings_size: Count = 300
        """Length of a coding."""

    @abstractmethod
    def penalty(self, batch: Batch, codings: Tensor) -> Tensor:
        """What is added to the loss of a batch for its codings [N, codings_size], a scalar."""

    # L(x, g(h)) + Ω(h), h = f(x): Goodfellow et al. 2016, equation 14.2
    def loss(self, batch: Batch) -> Tensor:
        """The reconstruction's error and the penalty."""
        codings = self.encode(batch.inputs)
        return self.reconstruction_loss(self.decoder(codings), batch.inputs) + self.penalty(batch, codings)

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """The loss with its penalty, the figures of the reconstruction, and how active the codings are."""
        codings = self.encode(batch.inputs)
        logits = self.decoder(codings)
        return {
            "loss": self.reconstruction_loss(logits, batch.inputs) + self.penalty(batch, codings),
            **self.reconstruction_metrics(logits, batch.inputs),
            "mean_activation": codings.mean(),
            "active_share": (codings > _ACTIVE).float().mean(),
        }


class SparseL1(Sparse):
    """Sparse by the L1 norm of the codings."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Sparse.Config):
        """Options of the L1 penalty."""

        l1_weight: Positive = 1e-3
        """Weight of the codings' L1 norm, the sum over a row's codings."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.l1_weight = config.l1_weight

    # Ω(h) = c ‖h‖₁: Goodfellow et al. 2016, equation 14.9
    def penalty(self, batch: Batch, codings: Tensor) -> Tensor:  # noqa: ARG002 (each row has its own)
        """The weighted L1 norm, the mean over rows."""
        return self.l1_weight * l1_norm(codings)


class SparseKL(Sparse):
    """Sparse by the divergence of each coding's mean activity from a target."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Sparse.Config):
        """Options of the KL penalty."""

        kl_weight: Positive = 0.05
        """Weight of the divergence, the sum over codings."""
        target_activity: Annotated[float, Field(gt=0, lt=1)] = 0.1
        """Mean activity that each coding is drawn to."""
        penalty_rows: Count = 32
        """The divergence is divided by so many rows, as the book's library divides it by the batch size. Training takes
        mean activities over the batch, validation over groups of so many rows."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.kl_weight = config.kl_weight
        self.target_activity = config.target_activity
        self.penalty_rows = config.penalty_rows

    # Ω = w/N sum over j of KL(p ‖ q_j), q_j = 1/N sum over the N rows of h_nj: Ng 2011, section 3
    def penalty(self, batch: Batch, codings: Tensor) -> Tensor:
        """The weighted divergence of the batch's mean activities from their target."""
        divergence = bernoulli_divergence(self.target_activity, batch.mean(codings)).sum()
        return self.kl_weight / self.penalty_rows * divergence

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """Means over groups of rows: the fewer the rows, the further their mean activity is from the target."""
        groups = [replace(batch, inputs=inputs) for inputs in torch.split(batch.inputs, self.penalty_rows)]
        figures = [super(SparseKL, self).validation_metrics(group) for group in groups]
        rows = torch.tensor([len(group.inputs) for group in groups], device=batch.inputs.device)
        parts = rows / rows.sum()
        return {name: parts @ torch.stack([values[name] for values in figures]) for name in figures[0]}


# ‖h‖₁ = sum over j of |h_j|
def l1_norm(codings: Tensor) -> Tensor:
    """L1 norm of codings [N, K], the mean over rows: a scalar."""
    return codings.abs().sum(dim=1).mean()


# KL(p ‖ q) = p log(p / q) + (1 - p) log((1 - p) / (1 - q))
def bernoulli_divergence(p: float, q: Tensor) -> Tensor:
    """KL divergence of Bernoulli(p) from Bernoulli(q) in nats, of each q in [0, 1]; q is kept off 0 and 1 by 1e-7."""
    q = q.clamp(1e-7, 1 - 1e-7)
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
