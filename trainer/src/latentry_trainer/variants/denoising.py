"""Denoising autoencoders (Vincent et al. 2008, 2010): reconstruct the clean image from a corrupted one."""

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from latentry_trainer.config import STRICT, Positive
from latentry_trainer.variants.base import Batch
from latentry_trainer.variants.stacked import Stacked


class DenoiseGaussian(Stacked):
    """A stacked autoencoder trained on images with Gaussian noise."""

    capabilities = Stacked.capabilities | {"DENOISE"}

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of the denoising autoencoder."""

        noise_std: Positive = 0.2
        """Standard deviation of the noise, in units of the range [0, 1]."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.noise_std = config.noise_std

    # x̃ ~ N(x, σ² I): Vincent et al. 2010, section 3.4
    def corrupt(self, batch: Batch) -> Tensor:
        """Adds noise to images [N, *input]. Not clipped, as in the book: values leave [0, 1]."""
        return torch.add(batch.inputs, batch.normals(*self.input_shape), alpha=self.noise_std)

    # L(x, g(f(x̃))): Vincent et al. 2010, section 2.3
    def loss(self, batch: Batch) -> Tensor:
        """The error of what is made of a corrupted batch, against the clean batch."""
        return self.reconstruction_loss(self.decoder(self.encode(self.corrupt(batch))), batch.inputs)
