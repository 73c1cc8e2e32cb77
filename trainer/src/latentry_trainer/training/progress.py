"""Where a run is, and whether it still goes well."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


class DivergedError(ArithmeticError):
    """A loss or a weight is no longer finite."""


@dataclass(slots=True, kw_only=True)
class Position:
    """Where a run is."""

    stage: int = 0
    """Index of the stage."""
    epoch: int = 0
    """Epochs of the stage that are done."""
    step: int = 0
    """Steps of the epoch that are done."""
    images_seen: int = 0
    """Images shown since the run began."""
    wall_time_s: float = 0.0
    """Time spent training since the run began."""


def check_finite(figures: Mapping[str, float], position: Position) -> None:
    """Refuses figures that are not finite: those of a model that has diverged."""
    epoch = position.epoch + (position.step > 0)
    for name, value in figures.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"{name} is {value} after {position.images_seen} images (epoch {epoch}); "
                "try a new run with a smaller --training.optimizer.learning_rate"
            )
