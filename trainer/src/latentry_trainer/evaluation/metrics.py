"""Figures of images against images: pure functions, the formula above each."""

import torch
from torch import Tensor


# MSE_n = 1/D sum over d of (y_nd - x_nd)²
def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each row: outputs and targets [N, *shape] -> [N]."""
    return (outputs - targets).square().flatten(1).mean(dim=1)


# PSNR_n = 10 log10(1 / MSE_n): the range of values, [0, 1], is 1 wide
def psnr_db(outputs: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each row in decibels, at most 100: outputs and targets [N, *shape] -> [N]."""
    return -10 * mean_squared_error(outputs, targets).clamp_min(1e-10).log10()


class Moments:
    """Mean and standard deviation of every pixel over the rows of many batches."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._sum: Tensor | float = 0.0
        self._sum_of_squares: Tensor | float = 0.0

    def add(self, images: Tensor) -> None:
        """Takes in a batch [N, *shape]."""
        rows = images.double()
        self._num_rows += len(rows)
        self._sum = self._sum + rows.sum(dim=0)
        self._sum_of_squares = self._sum_of_squares + rows.square().sum(dim=0)

    def mean(self) -> Tensor:
        """The mean image, [*shape]."""
        return torch.as_tensor(self._sum / self._num_rows)

    def std(self) -> Tensor:
        """The standard deviation of each pixel, [*shape]: the square root of mean(x²) - mean(x)²."""
        return torch.as_tensor(self._sum_of_squares / self._num_rows - self.mean().square()).clamp_min(0).sqrt()


# RMSE = sqrt(1/D sum over d of (a_d - b_d)²)
def root_mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean squared difference of two tensors of one shape: a scalar."""
    return (a - b).square().mean().sqrt()
