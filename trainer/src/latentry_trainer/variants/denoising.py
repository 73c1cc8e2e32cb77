"""Denoising autoencoders (Vincent et al. 2008, 2010): reconstruct the clean image from a corrupted one."""

from abc import abstractmethod
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from latentry_trainer.config import STRICT, Count, Fraction, NonNegative, Positive
from latentry_trainer.variants.base import Batch
from latentry_trainer.variants.sparse import l1_norm
from latentry_trainer.variants.stacked import Stacked


class Denoising(Stacked):
    """A stacked autoencoder trained on corrupted images."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of other autoencoders, and it denoises."""
        return super().capabilities | {"DENOISE"}

    @abstractmethod
    def corrupt(self, batch: Batch) -> Tensor:
        """A batch -> corrupted images [N, *input]. Not clipped, as in the book: values leave [0, 1]."""

    # L(x, g(f(x̃))): Vincent et al. 2010, section 2.3
    def loss(self, batch: Batch) -> Tensor:
        """The error of what is made of a corrupted batch, against the clean batch."""
        return self.reconstruction_loss(self.decoder(self.encode(self.corrupt(batch))), batch.inputs)


class DenoiseGaussian(Denoising):
    """Trained on images with Gaussian noise."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of the autoencoder that takes Gaussian noise away."""

        noise_std: Positive = 0.2
        """Standard deviation of the noise, in units of the range [0, 1]."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.noise_std = config.noise_std

    # x̃ ~ N(x, σ² I): Vincent et al. 2010, section 3.4
    def corrupt(self, batch: Batch) -> Tensor:
        """Adds noise to images [N, *input]."""
        return torch.add(batch.inputs, batch.normals(*self.input_shape), alpha=self.noise_std)


class DenoiseDropout(Denoising):
    """Trained on images of which random values are missing."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of the autoencoder that fills in missing values."""

        dropout_rate: Fraction = 0.5
        """Part of the values that are set to zero; the others are scaled by 1 / (1 - rate)."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.dropout_rate = config.dropout_rate

    # x̃ = m ⊙ x / (1 - p), m ~ Bernoulli(1 - p): Srivastava et al. 2014, section 10, in its inverted form
    def corrupt(self, batch: Batch) -> Tensor:
        """Drops values of images [N, *input]."""
        kept = batch.uniforms(*self.input_shape) >= self.dropout_rate
        return batch.inputs * kept / (1 - self.dropout_rate)


class DenoiseSparse(DenoiseGaussian):
    """Trained on images with Gaussian noise, with a penalty on the codings' size."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(DenoiseGaussian.Config):
        """Options of the sparse denoising autoencoder."""

        output: Literal["linear"] = "linear"
        """Trained on squared errors as they are, clipped to [0, 1] when used."""
        codings_size: Count = 300
        """Length of a coding."""
        l1_weight: NonNegative = 1e-6
        """Weight c of the codings' L1 norm, the sum over a row's codings; 0: no penalty."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.l1_weight = config.l1_weight

    # ½ ‖g(f(x̃)) - x‖² + c ‖f(x̃)‖₁, here with the mean of the squares instead of their sum
    def loss(self, batch: Batch) -> Tensor:
        """Half the mean squared error of what is made of a corrupted batch, and the weighted norm of its codings."""
        codings = self.encode(self.corrupt(batch))
        return self.reconstruction_loss(self.decoder(codings), batch.inputs) / 2 + self.l1_weight * l1_norm(codings)
