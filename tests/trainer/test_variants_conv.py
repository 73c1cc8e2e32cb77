"""The convolutional autoencoder: the book's network, images of any size, and its layout in memory."""

import pytest
import torch
from latentry_trainer.config import override
from latentry_trainer.presets import PRESETS
from latentry_trainer.variants import build_variant
from latentry_trainer.variants.conv import ChannelsLast, Conv, transposed_layers
from torch import Generator, Tensor, nn

BOOK = (1, 28, 28)


def images(*shape: int) -> Tensor:
    return torch.rand(3, *shape, generator=Generator().manual_seed(1))


def num_weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def map_shapes(layers: nn.Module, inputs: Tensor) -> list[tuple[int, ...]]:
    """The shapes of one row behind each convolution and pooling."""
    shapes = []
    for layer in layers.children():
        inputs = layer(inputs)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.ConvTranspose2d):
            shapes.append(tuple(inputs.shape[1:]))
    return shapes


def test_28_pixels_give_the_books_network() -> None:
    variant = Conv(Conv.Config(), BOOK)
    assert map_shapes(variant.encoder, images(*BOOK)) == [
        (16, 28, 28),
        (16, 14, 14),
        (32, 14, 14),
        (32, 7, 7),
        (64, 7, 7),
        (64, 3, 3),
    ]
    assert variant.codings_shape == (64, 3, 3)
    codings = variant.encode(images(*BOOK))
    assert map_shapes(variant.decoder, codings) == [(32, 7, 7), (16, 14, 14), (1, 28, 28)]
    # Keras' counts: 160 + 4 640 + 18 496, and 18 464 + 4 624 + 145.
    assert (num_weights(variant.encoder), num_weights(variant.decoder)) == (23_296, 23_233)


def test_a_flat_coding_gives_the_third_editions_network() -> None:
    variant = build_variant(PRESETS["conv-v3"].config, BOOK)
    assert isinstance(variant, Conv)
    assert variant.codings_shape == (30,)
    # Keras' counts: the book's encoder and 17 310; a dense layer of 4 464, then 4 640 + 4 624 + 145.
    assert (num_weights(variant.encoder), num_weights(variant.decoder)) == (40_606, 13_873)
    maps = nn.Sequential(*variant.encoder.children())[:-2](images(*BOOK))  # without averaging and flattening
    assert maps.shape == (3, 30, 3, 3)
    assert maps.min().item() == 0  # ReLU
    torch.testing.assert_close(variant.encode(images(*BOOK)), maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("codings_size", [0, 5])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 15, 8), (1, 31, 33), (4, 12, 50)])
def test_images_of_any_size_come_back_in_theirs(shape: tuple[int, ...], codings_size: int) -> None:
    variant = Conv(Conv.Config(codings_size=codings_size), shape)
    codings = variant.encode(images(*shape))
    assert codings.shape[1:] == variant.codings_shape
    assert variant.decode(codings).shape == (3, *shape)


@pytest.mark.parametrize(
    ("filters", "shape"), [((16, 32, 64), (1, 7, 28)), ((16, 32, 64), (3, 28, 7)), ((4,), (1, 1, 2)), ((4, 4), (784,))]
)
@pytest.mark.parametrize("name", ["conv", "conv-vae"])
def test_inputs_that_cannot_be_pooled_are_refused_with_the_sizes_that_can(
    name: str, filters: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    config = override(PRESETS[name].config, {"model.filters": ",".join(map(str, filters))})
    smallest = 2 ** len(filters)
    sizes = "x".join(map(str, shape))
    message = (
        f"{len(filters)} convolutions that halve .* at least {smallest} x {smallest} pixels, got .* {sizes}; .*filters"
    )
    with pytest.raises(ValueError, match=message):
        build_variant(config, shape)


def test_a_network_without_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--model\.filters"):
        override(PRESETS["conv"].config, {"model.filters": ""})


def test_weights_are_glorot_uniform_with_kernels_counted_and_biases_zero() -> None:
    variant = Conv(Conv.Config(), BOOK)
    layers = [layer for layer in variant.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 6
    for layer in layers:
        limit = (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
        assert 0.9 * limit < layer.weight.abs().max().item() <= limit
        assert not layer.bias.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("num_channels", [1, 3])
def test_channels_are_last_in_memory_from_the_first_layer_on(num_channels: int) -> None:
    inputs = images(num_channels, 8, 10)
    laid_out = ChannelsLast()(inputs)
    assert torch.equal(laid_out, inputs)
    assert laid_out.stride() == (80 * num_channels, 1, 10 * num_channels, num_channels)
    for layers in (Conv(Conv.Config(), (num_channels, 8, 10)).encoder, nn.Sequential(*decoder_of(num_channels))):
        rows = inputs
        for layer in layers.children():
            rows = layer(rows)
            assert rows.is_contiguous(memory_format=torch.channels_last)


def decoder_of(num_channels: int) -> list[nn.Module]:
    return transposed_layers((num_channels, 6, 4), [(32, 40), (16, 20), (8, 10)], "selu")
