"""The exponential moving average of a model's weights: less noisy than the weights of any one step."""

from copy import deepcopy

import torch
from torch import Tensor

from latentry_trainer.variants import Variant

_RAMP_UP = 0.05  # half-life as a part of the images seen so far, at most: the first weights are soon forgotten


class MovingAverage:
    """A copy of a variant with averaged weights: what is measured and exported.

    Its floating-point buffers are the variant's, as they are: statistics of batches and of styles are averages already.
    Counters and stored images are for training only.

    Args:
        variant: What is trained.
        half_life_images: After so many images a weight counts half.
    """

    def __init__(self, variant: Variant, half_life_images: float) -> None:
        self.variant = deepcopy(variant).requires_grad_(requires_grad=False)
        self._half_life_images = half_life_images
        self._averages: list[Tensor] = [*self.variant.parameters()]
        self._weights: list[Tensor] = [*variant.parameters()]
        self._statistics = _statistics_of(self.variant), _statistics_of(variant)

    # average <- d average + (1 - d) weights, d = 2^(-images / half-life): Polyak & Juditsky 1992, in its moving form
    @torch.no_grad()
    def update(self, *, num_images: int, images_seen: int) -> None:
        """Moves the average towards the weights.

        Args:
            num_images: Images shown since the last update.
            images_seen: Images shown since the run began.
        """
        half_life = min(self._half_life_images, _RAMP_UP * images_seen)
        new_part = 1 - 0.5 ** (num_images / half_life) if half_life else 1.0
        torch._foreach_lerp_(self._averages, self._weights, new_part)
        copies, statistics = self._statistics
        if copies:
            torch._foreach_copy_(copies, statistics)


def _statistics_of(variant: Variant) -> list[Tensor]:
    """The buffers of floating-point numbers; a prior is fitted to the average alone, and empty until then."""
    return [buffer for buffer in variant.buffers() if buffer.is_floating_point() and buffer.numel()]
