"""A linear autoencoder: its codings span the subspace of the principal components (Bourlard & Kamp 1988)."""

from math import prod
from typing import Literal

from pydantic.dataclasses import dataclass
from torch import nn

from latentry_trainer.config import STRICT, Count
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.layers import linear


class PCA(Autoencoder):
    """One dense layer each way, without activations, trained on squared errors."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Autoencoder.Config):
        """Options of the linear autoencoder."""

        output: Literal["linear"] = "linear"
        """Trained on squared errors as they are, clipped to [0, 1] when used."""
        codings_size: Count = 30
        """Length of a coding: the number of components."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        num_values = prod(input_shape)
        if config.codings_size >= num_values:
            raise ValueError(
                f"option --model.codings_size: expected fewer components than the {num_values} values of an input, "
                f"got {config.codings_size}"
            )
        self.codings_size = config.codings_size
        self.encoder = nn.Sequential(nn.Flatten(), linear(num_values, config.codings_size))
        self.decoder = linear(config.codings_size, num_values)

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.codings_size,)
