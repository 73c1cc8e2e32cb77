"""Figures of images against images: pure functions, the formula above each."""

from torch import Tensor


# MSE_n = 1/D sum over d of (y_nd - x_nd)²
def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each row: outputs and targets [N, *shape] -> [N]."""
    return (outputs - targets).square().flatten(1).mean(dim=1)


# PSNR_n = 10 log10(1 / MSE_n): the range of values, [0, 1], is 1 wide
def psnr_db(outputs: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each row in decibels, at most 100: outputs and targets [N, *shape] -> [N]."""
    return -10 * mean_squared_error(outputs, targets).clamp_min(1e-10).log10()


# RMSE = sqrt(1/D sum over d of (a_d - b_d)²)
def root_mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean squared difference of two tensors of one shape: a scalar."""
    return (a - b).square().mean().sqrt()
