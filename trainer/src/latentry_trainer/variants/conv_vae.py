"""The variational autoencoder with convolutional networks."""

from pydantic.dataclasses import dataclass
from torch import nn

from latentry_trainer.config import STRICT, Count
from latentry_trainer.variants.conv import Filters, image_features, maps_of_vectors, pooled_sizes, transposed_layers
from latentry_trainer.variants.layers import ACTIVATIONS, Activation, dense
from latentry_trainer.variants.vae import GaussianEncoder, Variational


class ConvVAE(Variational):
    """Convolutional encoder and mirrored decoder, with dense layers between feature maps and codings."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Variational.Config):
        """Options of the convolutional VAE."""

        filters: Filters = (16, 32, 64)
        """Feature maps of the encoder's convolutions; each is followed by pooling. The decoder mirrors them."""
        hidden_size: Count = 256
        """Size of the dense layer between feature maps and codings, on both sides."""
        activation: Activation = "relu"
        """Activation of all hidden layers."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        channels = (input_shape[0], *config.filters)
        sizes = pooled_sizes(input_shape, config.filters)
        last_maps = (channels[-1], *sizes[-1])
        hidden = image_features(input_shape, config.filters, config.hidden_size, config.activation)
        self.encoder = GaussianEncoder(hidden, config.hidden_size, config.codings_size)
        self.decoder = nn.Sequential(
            dense((config.codings_size, config.hidden_size), config.activation),
            *maps_of_vectors(config.hidden_size, last_maps),
            ACTIVATIONS[config.activation](),
            *transposed_layers(channels[::-1], sizes, config.activation),
        )
