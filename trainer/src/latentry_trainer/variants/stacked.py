"""The stacked autoencoder (Hinton & Salakhutdinov 2006): dense layers, narrow in the middle."""

from itertools import pairwise
from math import prod
from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import nn

from latentry_trainer.config import STRICT, Count, Sizes
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.layers import Activation, dense, linear


class Stacked(Autoencoder):
    """Dense encoder and mirrored decoder."""

    codings_activation: ClassVar[Activation | None] = None
    """Activation of the codings, where it is not that of the hidden layers."""
    encoder: nn.Sequential
    """Flattens; then one block a layer."""
    decoder: nn.Sequential
    """One part a layer; decoder[-depth] mirrors encoder[depth]."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Autoencoder.Config):
        """Options of the stacked autoencoder."""

        hidden_sizes: Sizes = (100,)
        """Sizes of the encoder's hidden layers; the decoder mirrors them."""
        codings_size: Count = 30
        """Length of a coding."""
        activation: Activation = "selu"
        """Activation of all hidden layers."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.codings_size = config.codings_size
        sizes = (prod(input_shape), *config.hidden_sizes, config.codings_size)
        *hidden, last = pairwise(sizes)
        self.encoder = nn.Sequential(
            nn.Flatten(),
            *(dense(layer, config.activation) for layer in hidden),
            dense(last, self.codings_activation or config.activation),
        )
        self.decoder = nn.Sequential(
            *(dense(layer, config.activation) for layer in pairwise(sizes[:0:-1])), linear(sizes[1], sizes[0])
        )

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.codings_size,)
