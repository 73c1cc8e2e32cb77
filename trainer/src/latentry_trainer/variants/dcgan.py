"""The deep convolutional GAN (Radford et al. 2016), as the book builds it and as the paper does."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from latentry_trainer.config import STRICT, Count, Fraction
from latentry_trainer.variants.adversarial import Adversarial, normalise_spectra
from latentry_trainer.variants.base import Batch
from latentry_trainer.variants.conv import ChannelsLast, Filters, require_pixels
from latentry_trainer.variants.gan import with_labels
from latentry_trainer.variants.layers import ACTIVATIONS, Activation, glorot_uniform

_PAPER_STD = 0.02  # of the initial weights: Radford et al. 2016, section 4


def _odd(kernel_size: int) -> int:
    if kernel_size % 2 == 0:
        raise ValueError("should be odd, so that it has a middle")
    return kernel_size


class DCGAN(Adversarial):
    """Generator of transposed convolutions and critic of convolutions, each with a stride of 2."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Adversarial.Config):
        """Options of the convolutional GAN."""

        codings_size: Count = 100
        """Length of a coding."""
        filters: Filters = (64, 128)
        """Feature maps of the critic's convolutions, each of which halves the size; the generator mirrors them."""
        kernel_size: Annotated[Count, AfterValidator(_odd)] = 5
        """Height and width of all kernels, odd."""
        activation: Activation = "selu"
        """Activation of the generator's hidden layers; the critic's is leaky_relu."""
        batch_norm: Literal["none", "generator", "both"] = "generator"
        """Which networks have batch normalisation (Ioffe & Szegedy 2015) in their hidden layers."""
        dropout: Fraction = 0.4
        """Part of the critic's hidden values that is dropped in training."""
        dense: bool = True
        """Dense layers between codings and maps and between maps and score; else convolutions as large as the maps."""
        initial_weights: Literal["glorot", "normal"] = "glorot"
        """`glorot`: uniform, the book's; `normal`: N(0, .02²), the paper's."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        super().__init__(config, input_shape, num_labels)
        sizes = halved_sizes(input_shape, config.filters)
        self.generator = ConvGenerator(config, input_shape, sizes, num_labels)
        self.critic = ConvCritic(config, input_shape, sizes, num_labels)
        if config.initial_weights == "normal":
            self.apply(_as_in_the_paper)
        if config.spectral_norm:
            normalise_spectra(self.critic)

    @property
    def judges_alone(self) -> bool:
        """Batch normalisation looks at a batch in training only."""
        return True


class ConvGenerator(nn.Module):
    """Codings [N, codings_size], and labels [N] -> images [N, *input]; inside, images are in [-1, 1]."""

    def __init__(
        self, config: DCGAN.Config, input_shape: tuple[int, ...], sizes: Sequence[tuple[int, int]], num_labels: int
    ) -> None:
        super().__init__()
        self.num_labels = num_labels
        has_norm = config.batch_norm != "none"
        num_inputs, channels = config.codings_size + num_labels, (*config.filters[::-1], input_shape[0])
        layers = [_maps_of_codings(num_inputs, (channels[0], *sizes[-1]), is_dense=config.dense), ChannelsLast()]
        for (num_maps, num_outputs), size in zip(pairwise(channels), sizes[-2::-1], strict=True):
            layers += [nn.BatchNorm2d(num_maps)] if has_norm else []
            # The book has no activation behind the dense layer.
            layers += [] if config.dense and num_maps == channels[0] else [ACTIVATIONS[config.activation]()]
            layers += [_upwards(num_maps, num_outputs, config.kernel_size, size)]
        self.layers = nn.Sequential(*layers)

    def forward(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings, and labels where it takes some -> images."""
        maps: Tensor = self.layers(with_labels(codings, labels, self.num_labels))
        return (maps.tanh() + 1) / 2


class ConvCritic(nn.Module):
    """Images [N, *input], and labels [N] -> scores [N]."""

    def __init__(
        self, config: DCGAN.Config, input_shape: tuple[int, ...], sizes: Sequence[tuple[int, int]], num_labels: int
    ) -> None:
        super().__init__()
        self.dropout = config.dropout
        channels = (input_shape[0], *config.filters)
        self.blocks = nn.ModuleList()
        for i, (num_inputs, num_outputs) in enumerate(pairwise(channels)):
            block = [_downwards(num_inputs, num_outputs, config.kernel_size)]
            block += [nn.BatchNorm2d(num_outputs)] if config.batch_norm == "both" and i else []
            self.blocks.append(nn.Sequential(*block, ACTIVATIONS["leaky_relu"]()))
        self.to_channels_last = ChannelsLast()
        self.score = _score_of_maps((channels[-1], *sizes[-1]), is_dense=config.dense)
        self.labels = nn.Embedding(num_labels, channels[-1]) if num_labels else None

    def forward(self, images: Tensor, labels: Tensor | None = None, batch: Batch | None = None) -> Tensor:
        """Images, and labels where it takes some -> scores; with a batch, whose rows these are, with dropout."""
        maps: Tensor = self.to_channels_last(2 * images - 1)
        for block in self.blocks:
            maps = block(maps)
            if batch and self.dropout:
                is_kept = batch.uniforms(*maps.shape[1:]) >= self.dropout
                maps = maps * is_kept / (1 - self.dropout)
        scores: Tensor = self.score(maps).flatten(0)
        if self.labels is None or labels is None:
            return scores
        # f(x) + ⟨V y, φ(x)⟩, φ summed over the maps: Miyato & Koyama 2018, equation 3 and section 4
        agreement: Tensor = (self.labels(labels) * maps.mean(dim=(2, 3))).sum(dim=1)
        return scores + agreement


def halved_sizes(input_shape: tuple[int, ...], filters: Sequence[int]) -> list[tuple[int, int]]:
    """Heights and widths before and after each halving, rounded up: one more than there are filters.

    Raises:
        ValueError: An input is not an image, or too small to be halved so often.
    """
    require_pixels(input_shape, len(filters))
    _, height, width = input_shape
    return [(-(-height // 2**times), -(-width // 2**times)) for times in range(len(filters) + 1)]


def _maps_of_codings(size: int, shape: tuple[int, int, int], *, is_dense: bool) -> nn.Module:
    """Codings [N, size] -> feature maps [N, *shape]."""
    if is_dense:
        return nn.Sequential(glorot_uniform(nn.Linear(size, prod(shape))), nn.Unflatten(1, shape))
    layer = glorot_uniform(nn.ConvTranspose2d(size, shape[0], kernel_size=shape[1:]))
    return nn.Sequential(nn.Unflatten(1, (size, 1, 1)), layer)


def _score_of_maps(shape: tuple[int, int, int], *, is_dense: bool) -> nn.Module:
    """Feature maps [N, *shape] -> scores [N, 1] or [N, 1, 1, 1]."""
    if is_dense:
        return nn.Sequential(nn.Flatten(), glorot_uniform(nn.Linear(prod(shape), 1)))
    return glorot_uniform(nn.Conv2d(shape[0], 1, kernel_size=shape[1:]))


def _downwards(num_inputs: int, num_outputs: int, kernel_size: int) -> nn.Module:
    """A convolution to half the height and width, rounded up."""
    return glorot_uniform(nn.Conv2d(num_inputs, num_outputs, kernel_size, stride=2, padding=kernel_size // 2))


def _upwards(num_inputs: int, num_outputs: int, kernel_size: int, size: tuple[int, int]) -> nn.Module:
    """A transposed convolution to this height and width, from half of it, rounded up."""
    height, width = size
    is_even = (1 - height % 2, 1 - width % 2)
    layer = nn.ConvTranspose2d(
        num_inputs, num_outputs, kernel_size, stride=2, padding=kernel_size // 2, output_padding=is_even
    )
    return glorot_uniform(layer)


def _as_in_the_paper(layer: nn.Module) -> None:
    """Draws the weights of convolutions and dense layers from N(0, .02²), the scales of batch norm around 1."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, std=_PAPER_STD)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1, std=_PAPER_STD)
