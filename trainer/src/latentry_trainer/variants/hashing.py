"""Semantic hashing (Salakhutdinov & Hinton 2009): codings that are nearly bits, alike for images that are alike."""

from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from latentry_trainer.config import STRICT, Count, Positive, Sizes
from latentry_trainer.variants.base import Batch
from latentry_trainer.variants.stacked import Stacked


class Hashing(Stacked):
    """A stacked autoencoder with codings in [0, 1] that noise before them drives to 0 and 1."""

    codings_activation = "sigmoid"

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Stacked.Config):
        """Options of the hashing autoencoder."""

        hidden_sizes: Annotated[Sizes, Field(min_length=1)] = (100,)
        """Sizes of the encoder's hidden layers, at least one; the decoder mirrors them."""
        codings_size: Count = 16
        """Length of a coding: the number of bits."""
        noise_std: Positive = 15.0
        """Standard deviation of the noise on the last hidden layer while training."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.noise_std = config.noise_std

    # L(x, g(sigmoid(W (h + s ε) + b))), ε ~ N(0, I): section 3.2, where the noise is on W h + b
    def loss(self, batch: Batch) -> Tensor:
        """The reconstruction's error by way of codings that are made of noisy hidden values."""
        hidden = self.encoder[:-1](batch.inputs)
        noisy = torch.add(hidden, batch.normals(*hidden.shape[1:]), alpha=self.noise_std)
        return self.reconstruction_loss(self.decoder(self.encoder[-1](noisy)), batch.inputs)
