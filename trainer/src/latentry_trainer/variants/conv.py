"""The convolutional autoencoder (Masci et al. 2011): convolutions and pooling, mirrored by transposed convolutions."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from latentry_trainer.config import STRICT, Sizes
from latentry_trainer.variants.autoencoder import Autoencoder
from latentry_trainer.variants.layers import ACTIVATIONS, Activation, dense, glorot_uniform, linear

Filters = Annotated[Sizes, Field(min_length=1, max_length=10)]


class Conv(Autoencoder):
    """Convolutional encoder and mirrored decoder."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Autoencoder.Config):
        """Options of the convolutional autoencoder."""

        filters: Filters = (16, 32, 64)
        """Feature maps of the encoder's convolutions; each is followed by pooling. The decoder mirrors them."""
        codings_size: Annotated[int, Field(ge=0, lt=2**31)] = 0
        """Length of a coding; 0: the last feature maps are the codings."""
        activation: Activation = "selu"
        """Activation of all hidden layers."""

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        channels = (input_shape[0], *config.filters)
        sizes = pooled_sizes(input_shape, config.filters)
        self.encoder = nn.Sequential(*conv_layers(channels, config.activation))
        self.decoder = nn.Sequential()
        self._codings_shape: tuple[int, ...] = (channels[-1], *sizes[-1])
        first_maps = channels[-1]
        if config.codings_size:
            # The mean of one more map for each value; the way back begins with as few maps as the encoder does.
            self._codings_shape = (config.codings_size,)
            first_maps = config.filters[0]
            self.encoder.extend([convolution(channels[-1], config.codings_size), ACTIVATIONS[config.activation]()])
            self.encoder.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
            self.decoder.extend(maps_of_vectors(config.codings_size, (first_maps, *sizes[-1])))
        self.decoder.extend(transposed_layers((first_maps, *channels[-2::-1]), sizes, config.activation))

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """Feature maps, (filters, height, width), or a vector."""
        return self._codings_shape


def pooled_sizes(input_shape: tuple[int, ...], filters: Sequence[int]) -> list[tuple[int, int]]:
    """Heights and widths of an image before and after each pooling to half the size: one more than there are filters.

    Raises:
        ValueError: An input is not an image, or too small to be pooled so often.
    """
    require_pixels(input_shape, len(filters))
    _, height, width = input_shape
    return [(height >> times, width >> times) for times in range(len(filters) + 1)]


def require_pixels(input_shape: tuple[int, ...], num_halvings: int) -> None:
    """Refuses inputs that are no images, or too small to be halved so often.

    Raises:
        ValueError: They are.
    """
    smallest = 2**num_halvings
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        raise ValueError(
            f"a network of {num_halvings} convolutions that halve the size takes images of at least "
            f"{smallest} x {smallest} pixels, got inputs of shape {'x'.join(map(str, input_shape))}; "
            "fewer --model.filters take smaller images"
        )


def conv_layers(channels: Sequence[int], activation: Activation) -> list[nn.Module]:
    """Convolutions channels[0] -> … -> channels[-1], each with pooling to half the size and the activation behind it.

    Pooling first gives what the book's order gives, as activations rise, and leaves a quarter of the values to them.
    """
    layers: list[nn.Module] = [ChannelsLast()]
    for num_inputs, num_outputs in pairwise(channels):
        layers += [convolution(num_inputs, num_outputs), nn.MaxPool2d(2), ACTIVATIONS[activation]()]
    return layers


def image_features(
    input_shape: tuple[int, ...], filters: Sequence[int], num_features: int, activation: Activation
) -> nn.Sequential:
    """Images [N, *input] -> features [N, num_features]: pooled convolutions, a dense layer; vectors go to it at once.

    Raises:
        ValueError: An image is too small to be pooled so often.
    """
    layers, maps_shape = nn.Sequential(), input_shape
    if len(input_shape) > 1:
        maps_shape = (filters[-1], *pooled_sizes(input_shape, filters)[-1])
        layers.extend(conv_layers((input_shape[0], *filters), activation))
    return layers.extend([nn.Flatten(), dense((prod(maps_shape), num_features), activation)])


def maps_of_vectors(size: int, shape: tuple[int, int, int]) -> list[nn.Module]:
    """A dense layer from vectors [N, size] to feature maps [N, *shape]."""
    num_maps, height, width = shape
    return [linear(size, num_maps * height * width), nn.Unflatten(1, shape)]


def transposed_layers(
    channels: Sequence[int], sizes: Sequence[tuple[int, int]], activation: Activation
) -> list[nn.Module]:
    """Transposed convolutions channels[0] -> … -> channels[-1] from the smallest of the sizes back to the largest.

    Activations are between them, none behind the last. Each undoes one pooling: h -> 2h or 2h + 1, by its padding.
    """
    layers: list[nn.Module] = [ChannelsLast()]
    for (num_inputs, num_outputs), (height, width) in zip(pairwise(channels), sizes[-2::-1], strict=True):
        is_even = (1 - height % 2, 1 - width % 2)
        layer = nn.ConvTranspose2d(num_inputs, num_outputs, 3, stride=2, padding=is_even, output_padding=is_even)
        layers += [glorot_uniform(layer), ACTIVATIONS[activation]()]
    return layers[:-1]


class ChannelsLast(nn.Module):
    """Lays images [N, C, H, W] out in memory as [N, H, W, C]: the layers behind it keep that, and are twice as fast."""

    def forward(self, images: Tensor) -> Tensor:
        """The same images."""
        if torch.compiler.is_exporting():  # graphs have no such layout
            return images
        # By hand, because PyTorch finds a single channel to be in place whatever its strides are.
        channels, height, width = images.shape[1:]
        return images.permute(0, 2, 3, 1).flatten(1).reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def convolution(num_inputs: int, num_outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return glorot_uniform(nn.Conv2d(num_inputs, num_outputs, kernel_size=3, padding=1))
