"""Styles of one image's layers in another: figure 3 of Karras et al. 2018."""

import torch
from torch import Generator, Tensor

from latentry_trainer.variants import Generative

_NUM_ROWS = 6  # of mixes, two for each part of the layers
_PARTS = 3  # of the layers: coarse, middle and fine


def draw_mixes(variant: Generative, generator: Generator, num_columns: int) -> Tensor:
    """Draws a grid of 7 rows of images, [7 num_columns, *input].

    In the first row and the first column are sources, in their corner is nothing. Where a row and a column meet is
    the row's source with a third of its layers from the column's: the coarse ones in the first two rows, the middle
    ones in the next two, the fine ones in the last two. All images have the same noise.

    Args:
        variant: In eval mode, with styles.
        generator: On the variant's device.
        num_columns: The sources' column included.
    """
    assert variant.style is not None, "asked for styles only"
    num_layers = variant.style.num_layers
    graphs = {graph.role: graph for graph in variant.graph_modules()}
    _, *noises = graphs["synthesis"].inputs
    num_sources = num_columns - 1 + _NUM_ROWS

    def normals(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    labels = variant.labels_in_turn(num_sources)
    sources = graphs["mapping"].module(
        normals(num_sources, *variant.codings_shape), *([] if labels is None else [labels])
    )  # [num_sources, W]
    of_columns, of_rows = sources[:, None].expand(-1, num_layers, -1).split((num_columns - 1, _NUM_ROWS))
    styles = [of_columns]
    for row, of_row in enumerate(of_rows):
        mixes = of_row.repeat(num_columns, 1, 1)
        part = row * _PARTS // _NUM_ROWS
        layers = slice(part * num_layers // _PARTS, (part + 1) * num_layers // _PARTS)
        mixes[1:, layers] = of_columns[:, layers]
        styles.append(mixes)
    layer_styles = torch.cat(styles)
    same_noise = [normals(1, *noise.shape).expand(len(layer_styles), *noise.shape) for noise in noises]
    images: Tensor = graphs["synthesis"].module(layer_styles, *same_noise)
    return torch.cat((torch.ones_like(images[:1]), images))
