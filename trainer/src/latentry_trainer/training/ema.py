"""Exponential moving averages of weights."""

import torch

from latentry_trainer.variants.base import Average


# w_average <- d w_average + (1 - d) w, with d = 2^(-images / half-life)
@torch.no_grad()
def update_average(average: Average, num_images: int) -> None:
    """Moves an average towards its source after a step of `num_images` images."""
    weight = 1 - 0.5 ** (num_images / average.half_life_images)
    for target, source in zip(average.target.parameters(), average.source.parameters(), strict=True):
        target.lerp_(source, weight)
