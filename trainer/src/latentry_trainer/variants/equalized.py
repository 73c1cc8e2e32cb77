"""Layers with an equalised learning rate, and what goes between them (Karras et al. 2017 and 2018)."""

from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

GAIN = sqrt(2)  # of He et al. 2015, for layers with a rectifier behind them
EPSILON = 1e-7  # the papers' 1e-8 is taken for 0 by the exporter to ONNX

Resample = Literal["keep", "up", "down"]


# w = c ŵ, ŵ ~ N(0, 1), c = gain / sqrt(fan-in): Karras et al. 2017, section 4.1; the multiplier: 2018, appendix C
class EqualizedLinear(nn.Module):
    """A dense layer whose weights are scaled when they are used, so that optimisers move all layers alike.

    Args:
        num_inputs: Length of a row.
        num_outputs: Length of a row of the result.
        gain: Standard deviation of the outputs for inputs of N(0, 1).
        bias: What the biases are at first; None: there are none.
        learning_rate_multiplier: How fast weights and biases move, of the optimiser's step size.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        gain: float = GAIN,
        bias: float | None = 0.0,
        learning_rate_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = gain / sqrt(num_inputs) * learning_rate_multiplier
        self.bias_scale = learning_rate_multiplier
        self.weight = nn.Parameter(torch.randn(num_outputs, num_inputs) / learning_rate_multiplier)
        self.bias = None if bias is None else nn.Parameter(torch.full((num_outputs,), bias / learning_rate_multiplier))

    def forward(self, rows: Tensor) -> Tensor:
        """[N, num_inputs] -> [N, num_outputs]."""
        bias = None if self.bias is None else self.bias * self.bias_scale
        return functional.linear(rows, self.weight * self.scale, bias)


class EqualizedConv2d(nn.Module):
    """A convolution that keeps, doubles or halves the size, with an equalised learning rate as above.

    A 3x3 convolution of an image doubled by its nearest pixels, or averaged over 2x2 pixels afterwards, is one 4x4
    convolution of stride 2 with sums of the same weights: the same result for less than half of the multiplications.

    Args:
        num_inputs: Maps that come in.
        num_outputs: Maps that go out.
        kernel_size: 1 or 3; 3 where the size changes.
        gain: As for `EqualizedLinear`.
        bias: Whether there are biases, 0 at first.
        resample: `up`: of twice the size; `down`: of half the size.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int = 3,
        *,
        gain: float = GAIN,
        bias: bool = True,
        resample: Resample = "keep",
    ) -> None:
        super().__init__()
        shape = (num_outputs, num_inputs, kernel_size, kernel_size)
        self.scale = gain / sqrt(prod(shape[1:]))
        self.resample = resample
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None

    def forward(self, maps: Tensor) -> Tensor:
        """[N, num_inputs, H, W] -> [N, num_outputs, H, W], or twice or half the size."""
        weight = self.weight * self.scale
        match self.resample:
            case "keep":
                return functional.conv2d(maps, weight, self.bias, padding=weight.shape[-1] // 2)
            case "up":
                weight = 4 * _mean_of_shifts(weight.flip(2, 3)).transpose(0, 1)
                return functional.conv_transpose2d(maps, weight, self.bias, stride=2, padding=1)
            case "down":
                return functional.conv2d(maps, _mean_of_shifts(weight), self.bias, stride=2, padding=1)


def _mean_of_shifts(weight: Tensor) -> Tensor:
    """Kernels [O, I, 3, 3] -> [O, I, 4, 4], the means of the four that are shifted by 0 or 1 each way."""
    return functional.avg_pool2d(functional.pad(weight, (1, 1, 1, 1)), 2, stride=1)


# b = a / sqrt(mean over channels of a² + ε): Karras et al. 2017, section 4.2
class PixelNorm(nn.Module):
    """Gives every pixel's vector of features, or every coding, the mean square 1."""

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C, …], the same shape."""
        norms = torch.linalg.vector_norm(maps, dim=1, keepdim=True)  # reads the maps once, and writes no squares
        return maps * torch.rsqrt(norms.square() / maps.shape[1] + EPSILON)


class Blur(nn.Module):
    """Filters maps by [1 2 1] / 4 both ways (Karras et al. 2018, section 2; Zhang 2019).

    Args:
        num_maps: How many.
    """

    kernel: Tensor

    def __init__(self, num_maps: int) -> None:
        super().__init__()
        binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(binomial, binomial).repeat(num_maps, 1, 1, 1)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, num_maps, H, W], the same shape."""
        return functional.conv2d(maps, self.kernel, padding=1, groups=len(self.kernel))


def rectifier() -> nn.Module:
    """The activation behind all hidden layers of the growing networks: slope .2 on the left, as the papers have it."""
    return nn.LeakyReLU(0.2, inplace=True)
