"""The layers of a style-based generator (Karras et al. 2018)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from latentry_trainer.variants.equalized import EPSILON, EqualizedLinear, rectifier
from latentry_trainer.variants.growing_networks import FIRST_SIZE, LabelledCodings


class Mapping(nn.Module):
    """The mapping network: dense layers from normalised codings to styles.

    Args:
        codings_size: Length of a coding, and of the hidden layers.
        num_layers: How many layers; 0: the style is the normalised coding, followed by the label's vector.
        num_labels: Number of classes; 0: it takes no labels.
        learning_rate_multiplier: How fast the layers move, of the optimiser's step size.
    """

    def __init__(self, codings_size: int, num_layers: int, *, num_labels: int, learning_rate_multiplier: float) -> None:
        super().__init__()
        self.codings = LabelledCodings(codings_size, num_labels)
        sizes = [self.codings.num_values, *[codings_size] * num_layers]
        self.style_dim = sizes[-1]
        self.layers = nn.Sequential()
        for num_inputs, num_outputs in pairwise(sizes):
            layer = EqualizedLinear(num_inputs, num_outputs, learning_rate_multiplier=learning_rate_multiplier)
            self.layers.extend([layer, rectifier()])

    def forward(self, codings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codings [N, codings_size], and labels [N] -> styles [N, style_dim]."""
        styles: Tensor = self.layers(self.codings(codings, labels))
        return styles


class LearnedConstant(nn.Module):
    """Maps that are the same for every row: all of an image comes from its styles and noise.

    They are N(0, 1) at first, not all 1 as in the paper, of which the norm behind them would leave nothing.

    Args:
        num_maps: How many.
    """

    def __init__(self, num_maps: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(FIRST_SIZE, FIRST_SIZE, num_maps))

    def forward(self, styles: Tensor) -> Tensor:
        """Styles [N, W], of which only the number matters -> [N, num_maps, 4, 4]."""
        return self.maps.expand(styles.shape[0], -1, -1, -1).permute(0, 3, 1, 2)


class StyleLayer(nn.Module):
    """What follows each convolution, and the constant: noise -> bias -> activation -> instance norm -> style.

    Args:
        num_maps: How many.
        style_dim: Length of a style.
    """

    def __init__(self, num_maps: int, style_dim: int) -> None:
        super().__init__()
        self.noise_scales = nn.Parameter(torch.zeros(num_maps, 1, 1))
        self.biases = nn.Parameter(torch.zeros(num_maps, 1, 1))
        self.activation = rectifier()
        self.style_scales = EqualizedLinear(style_dim, num_maps, gain=1, bias=1.0)
        self.style_biases = EqualizedLinear(style_dim, num_maps, gain=1)

    def forward(self, maps: Tensor, style: Tensor, noise: Tensor | None = None) -> Tensor:
        """Maps [N, C, H, W], styles [N, W] and a noise map for each row [N, 1, H, W] -> maps."""
        if noise is not None:
            maps = torch.addcmul(maps, self.noise_scales, noise)
        maps = self.activation(maps + self.biases)
        return stylized(maps, self.style_scales(style), self.style_biases(style))


# AdaIN(x, y) = y_s (x - mean(x)) / stddev(x) + y_b: Karras et al. 2018, equation 1
def stylized(maps: Tensor, scales: Tensor, biases: Tensor) -> Tensor:
    """Gives each map of each row a standard deviation and a mean: [N, C, H, W], [N, C], [N, C] -> [N, C, H, W]."""
    centred = maps - maps.mean(dim=(2, 3), keepdim=True)
    variances = centred.square().mean(dim=(2, 3))  # PyTorch's own takes three times as long with channels last
    factors = scales * torch.rsqrt(variances + EPSILON)
    return torch.addcmul(biases[:, :, None, None], centred, factors[:, :, None, None])
