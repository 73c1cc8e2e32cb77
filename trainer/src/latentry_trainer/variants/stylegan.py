"""The style-based generator (Karras et al. 2018)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor, nn

from latentry_trainer.config import STRICT, Count, NonNegative, Positive
from latentry_trainer.variants.base import Batch, ExportGraph, GraphTensor, Style
from latentry_trainer.variants.equalized import Blur, EqualizedConv2d
from latentry_trainer.variants.growing import Growing
from latentry_trainer.variants.growing_networks import FIRST_SIZE, Growth, MapsToImages
from latentry_trainer.variants.progan import VectorsToMaps
from latentry_trainer.variants.style_layers import LearnedConstant, Mapping, StyleLayer

_LAYERS_A_LEVEL = 2
_NEW_PART = 0.005  # how far the mean style moves at a time: Karras' implementation


class StyleGAN(Growing):
    """Growing networks whose generator is told by styles, layer by layer, what to make of a constant."""

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Growing.Config):
        """Options of the style-based GAN."""

        codings_size: Count = 64
        """Length of a coding, and of a style."""
        first_resolution: Count = 2 * FIRST_SIZE
        """Pixels of the first stage's images, a power of two from 4; the images' own, padded: do not grow."""
        r1_penalty: NonNegative = 0.1
        """Gamma of gamma/2 slope² at images (Mescheder et al. 2018), which keeps samples from becoming all alike."""
        blur: bool = True
        """Filter maps by [1 2 1] after each doubling and before each halving of their size."""
        mapping_layers: Annotated[int, Field(ge=0, le=64)] = 4
        """Dense layers from a coding to its style; 0: the normalised coding is its style."""
        mapping_learning_rate_multiplier: Positive = 0.01
        """How fast those layers move, of the optimiser's step size."""
        learned_constant: bool = True
        """Begin with the same maps for all images; else with a dense layer of the first style."""
        noise: bool = True
        """Add noise maps at each layer, for what is random in an image."""
        mixing_probability: Annotated[float, Field(ge=0, le=1)] = 0.9
        """The part of the images whose layers from a random one on have the style of another coding, in training."""

    generator: "StyleGenerator"
    """Codings to styles to images."""
    mean_style: Tensor
    """The moving average of the styles seen in training, [W]."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        super().__init__(config, input_shape, num_labels)
        self.generator = StyleGenerator(config, self.num_maps, input_shape[0], num_labels)
        self.has_noise = config.noise
        self.mixing_probability = config.mixing_probability
        self.register_buffer("mean_style", torch.zeros(self.generator.mapping.style_dim))

    @property
    def capabilities(self) -> frozenset[str]:
        """Styles can be mixed."""
        return super().capabilities | {"STYLE_MIX"}

    @property
    def style(self) -> Style:
        """Of the layers that have grown."""
        return Style(num_layers=_num_layers(self.now), mean_style=self.mean_style)

    def fakes(self, batch: Batch, labels: Tensor | None) -> Tensor:
        """Generated images [N, C, R, R] of the present resolution with mixed styles, as many as the batch has rows."""
        growth, mapping = self.now, self.generator.mapping
        styles = mapping(batch.normals(*self.codings_shape), labels)
        if self.training:
            self.mean_style.lerp_(batch.mean(styles.detach()), _NEW_PART)
        layers = to_layers(styles, _num_layers(growth))
        if self.mixing_probability:
            others = mapping(batch.normals(*self.codings_shape), labels)
            begins = crossovers(batch.uniforms(2), _num_layers(growth), self.mixing_probability)
            layers = mixed(layers, others, begins)
        noises = [batch.normals(*shape) for shape in self._noise_shapes(growth)]
        images: Tensor = self.generator.synthesis(layers, *noises, growth=growth)
        return images

    def decode(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings [N, codings_size], and labels [N] where it takes some -> images [N, *input], with the same noise."""
        generator = Generator(codings.device).manual_seed(0)
        return self._decode(
            codings, labels, [noise.expand(len(codings), -1, -1, -1) for noise in self._noises(1, generator)]
        )

    def sample(self, num_rows: int, generator: Generator, labels: Tensor | None = None) -> Tensor:
        """Draws images [num_rows, *input]: of codings ~ N(0, I), each with noise maps of its own."""
        codings = torch.randn(num_rows, *self.codings_shape, generator=generator, device=generator.device)
        labels = self.labels_in_turn(num_rows) if labels is None else labels
        return self._decode(codings, labels, self._noises(num_rows, generator))

    def graph_modules(self) -> tuple[ExportGraph, ...]:
        """Mapping and synthesis."""
        growth, mapping = self.now, self.generator.mapping
        codings = GraphTensor(name="codings", shape=self.codings_shape)
        labels = (GraphTensor(name="labels", shape=(), dtype=torch.int64),) if self.num_labels else ()
        style = GraphTensor(name="styles", shape=(mapping.style_dim,))
        styles = GraphTensor(name="styles", shape=(_num_layers(growth), mapping.style_dim))
        noises = (
            GraphTensor(name=f"noise_{layer}", shape=shape) for layer, shape in enumerate(self._noise_shapes(growth))
        )
        images = GraphTensor(name="outputs", shape=self.input_shape)
        synthesis = self.grown(self.generator.synthesis).eval()
        return (
            ExportGraph(role="mapping", module=mapping.eval(), inputs=(codings, *labels), outputs=(style,)),
            ExportGraph(role="synthesis", module=synthesis, inputs=(styles, *noises), outputs=(images,)),
        )

    def _decode(self, codings: Tensor, labels: Tensor | None, noises: Sequence[Tensor]) -> Tensor:
        styles = to_layers(self.generator.mapping(codings, labels), _num_layers(self.now))
        images: Tensor = self.grown(self.generator.synthesis)(styles, *noises)
        return images

    def _noises(self, num_rows: int, generator: Generator) -> list[Tensor]:
        shapes = self._noise_shapes(self.now)
        return [torch.randn(num_rows, *shape, generator=generator, device=generator.device) for shape in shapes]

    def _noise_shapes(self, growth: Growth) -> list[tuple[int, int, int]]:
        """Shape of one row of each layer's noise map; empty where there is no noise."""
        if not self.has_noise:
            return []
        sizes = (FIRST_SIZE << layer // _LAYERS_A_LEVEL for layer in range(_num_layers(growth)))
        return [(1, size, size) for size in sizes]


class StyleGenerator(nn.Module):
    """The two networks that make images of codings."""

    def __init__(self, config: StyleGAN.Config, num_maps: Sequence[int], num_channels: int, num_labels: int) -> None:
        super().__init__()
        self.mapping = Mapping(
            config.codings_size,
            config.mapping_layers,
            num_labels=num_labels,
            learning_rate_multiplier=config.mapping_learning_rate_multiplier,
        )
        self.synthesis = Synthesis(
            self.mapping.style_dim,
            num_maps,
            num_channels,
            learned_constant=config.learned_constant,
            blur=config.blur,
        )


# Karras et al. 2018, figure 1 b
class Synthesis(nn.Module):
    """The synthesis network: two layers a level, each with its own style and noise.

    Args:
        style_dim: Length of a style, W.
        num_maps: Maps of each level, from level 0.
        num_channels: The images'.
        learned_constant: Whether the first maps are a constant, or a dense layer of the first style.
        blur: Filter maps after they are doubled.
    """

    def __init__(
        self, style_dim: int, num_maps: Sequence[int], num_channels: int, *, learned_constant: bool, blur: bool
    ) -> None:
        super().__init__()
        first = LearnedConstant(num_maps[0]) if learned_constant else VectorsToMaps(style_dim, num_maps[0])
        self.sources = nn.ModuleList([first])
        for level, maps in enumerate(num_maps):
            if level:
                doubling = EqualizedConv2d(num_maps[level - 1], maps, bias=False, resample="up")
                self.sources.append(nn.Sequential(doubling, Blur(maps)) if blur else doubling)
            self.sources.append(EqualizedConv2d(maps, maps, bias=False))
        self.layers = nn.ModuleList(StyleLayer(maps, style_dim) for maps in num_maps for _ in range(_LAYERS_A_LEVEL))
        self.to_images = MapsToImages(num_maps, num_channels)

    def forward(self, styles: Tensor, *noises: Tensor, growth: Growth) -> Tensor:
        """Styles [N, L, W] and L noise maps [N, 1, H, W], or none -> images [N, C, R, R] of the growth's resolution."""
        maps, maps_of_levels = styles[:, 0], []
        for layer in range(_num_layers(growth)):
            noise = noises[layer] if noises else None
            maps = self.layers[layer](self.sources[layer](maps), styles[:, layer], noise)
            if layer % _LAYERS_A_LEVEL == 1:
                maps_of_levels.append(maps)
        images: Tensor = self.to_images(maps_of_levels, growth.alpha)
        return images


def to_layers(styles: Tensor, num_layers: int) -> Tensor:
    """The same style for each layer: [N, W] -> [N, L, W]."""
    return styles[:, None].expand(-1, num_layers, -1)


# Karras et al. 2018, section 3.1
def crossovers(uniforms: Tensor, num_layers: int, probability: float) -> Tensor:
    """Where each row's second style begins: uniforms [N, 2] -> 1 to L - 1, or, where it has none, L: [N]."""
    begins = 1 + (uniforms[:, 0] * (num_layers - 1)).floor()
    return torch.where(uniforms[:, 1] < probability, begins, num_layers)


def mixed(styles: Tensor, others: Tensor, begins: Tensor) -> Tensor:
    """Styles [N, L, W] with another style [N, W] from layer `begins` [N] on."""
    is_other = torch.arange(styles.shape[1], device=styles.device) >= begins[:, None]  # [N, L]
    return torch.where(is_other[:, :, None], others[:, None], styles)


def _num_layers(growth: Growth) -> int:
    return _LAYERS_A_LEVEL * (growth.level + 1)
