"""The progressively growing GAN (Karras et al. 2017, appendix A)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from latentry_trainer.config import STRICT, Count, NonNegative
from latentry_trainer.variants.adversarial_losses import AdversarialLossName
from latentry_trainer.variants.base import Batch, ExportGraph, GraphTensor
from latentry_trainer.variants.equalized import GAIN, Blur, EqualizedConv2d, EqualizedLinear, PixelNorm, rectifier
from latentry_trainer.variants.growing import Growing
from latentry_trainer.variants.growing_networks import FIRST_SIZE, Growth, LabelledCodings, MapsToImages


class ProGAN(Growing):
    """Growing networks with pixelwise normalisation in the generator, and the loss WGAN-GP with a drift term."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Growing.Config):
        """Options of the progressively growing GAN; what the paper trains with."""

        codings_size: Count = 64
        """Length of a coding."""
        loss: AdversarialLossName = "wasserstein"
        """The game: what critic and generator minimise."""
        gradient_penalty: NonNegative = 10.0
        """λ of (slope - 1)² between images and samples (Gulrajani et al. 2017), which keep its slope near 1."""
        drift: NonNegative = 0.001
        """ε of ε score² of images, which keeps scores near 0 (appendix A.1)."""

    generator: "GrowingGenerator"
    """Codings, labels, and the growth -> images of the present resolution."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        super().__init__(config, input_shape, num_labels)
        self.generator = GrowingGenerator(
            config.codings_size, self.num_maps, input_shape[0], num_labels=num_labels, blur=config.blur
        )

    def fakes(self, batch: Batch, labels: Tensor | None) -> Tensor:
        """Generated images [N, C, R, R] of the present resolution, as many as the batch has rows."""
        images: Tensor = self.generator(batch.normals(*self.codings_shape), labels, growth=self.now)
        return images

    def decode(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings [N, codings_size], and labels [N] where it takes some -> images [N, *input]."""
        images: Tensor = self.grown(self.generator)(codings, labels)
        return images

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """The generator as decoder."""
        codings = GraphTensor(name="codings", shape=self.codings_shape)
        labels = (GraphTensor(name="labels", shape=(), dtype=torch.int64),) if self.num_labels else ()
        images = GraphTensor(name="outputs", shape=self.input_shape)
        decoder = self.grown(self.generator).eval()
        return (ExportGraph(role="decoder", module=decoder, inputs=(codings, *labels), outputs=(images,)),)


# Karras et al. 2017, table 2
class GrowingGenerator(nn.Module):
    """The generator.

    Args:
        codings_size: Length of a coding.
        num_maps: Maps of each level, from level 0.
        num_channels: The images'.
        num_labels: Number of classes; 0: it takes no labels.
        blur: Filter maps after they are doubled.
    """

    def __init__(
        self, codings_size: int, num_maps: Sequence[int], num_channels: int, *, num_labels: int, blur: bool
    ) -> None:
        super().__init__()
        self.codings = LabelledCodings(codings_size, num_labels)
        first = nn.Sequential(
            VectorsToMaps(self.codings.num_values, num_maps[0]),
            *_behind(),
            EqualizedConv2d(num_maps[0], num_maps[0]),
            *_behind(),
        )
        others = (
            nn.Sequential(
                EqualizedConv2d(lower_maps, maps, resample="up"),
                *([Blur(maps)] if blur else []),
                *_behind(),
                EqualizedConv2d(maps, maps),
                *_behind(),
            )
            for lower_maps, maps in pairwise(num_maps)
        )
        self.blocks = nn.ModuleList([first, *others])
        self.to_images = MapsToImages(num_maps, num_channels)

    def forward(self, codings: Tensor, labels: Tensor | None = None, *, growth: Growth) -> Tensor:
        """Codings [N, codings_size], and labels [N] -> images [N, C, R, R] of the growth's resolution."""
        maps = [self.codings(codings, labels)]
        for block in self.blocks[: growth.level + 1]:
            maps.append(block(maps[-1]))
        images: Tensor = self.to_images(maps[1:], growth.alpha)
        return images


class VectorsToMaps(nn.Module):
    """A dense layer from vectors [N, size] to maps [N, num_maps, 4, 4], channels last in memory.

    Args:
        size: Length of a vector.
        num_maps: How many.
    """

    def __init__(self, size: int, num_maps: int) -> None:
        super().__init__()
        self.num_maps = num_maps
        self.dense = EqualizedLinear(size, num_maps * FIRST_SIZE**2, gain=GAIN / 4)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors -> maps."""
        maps: Tensor = self.dense(vectors).unflatten(1, (FIRST_SIZE, FIRST_SIZE, self.num_maps)).permute(0, 3, 1, 2)
        return maps


def _behind() -> tuple[nn.Module, ...]:
    """What follows each of the generator's layers but the last."""
    return rectifier(), PixelNorm()
