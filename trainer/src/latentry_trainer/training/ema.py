"""The exponential moving average of a model's weights: less noisy than the weights of any one step."""

import torch
from torch import Tensor

_RAMP_UP = 0.05  # half-life as a part of the images seen so far, at most: the first weights are soon forgotten


# average <- d average + (1 - d) weights, with d = 2^(-images / half-life): Polyak & Juditsky 1992, in its moving form
@torch.no_grad()
def update_average(
    average: list[Tensor], weights: list[Tensor], *, num_images: int, images_seen: int, half_life_images: float
) -> None:
    """Moves an average towards the weights.

    Args:
        average: One tensor a weight, changed in place.
        weights: The weights of the model that is trained.
        num_images: Images shown since the last update.
        images_seen: Images shown since the run began.
        half_life_images: After so many images a weight counts half.
    """
    half_life = min(half_life_images, _RAMP_UP * images_seen)
    new_part = 1 - 0.5 ** (num_images / half_life) if half_life else 1.0
    torch._foreach_lerp_(average, weights, new_part)
