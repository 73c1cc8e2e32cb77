"""The losses between two lines of metrics."""

import time
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from latentry_trainer.parallel import World
from latentry_trainer.training.progress import Position, check_finite
from latentry_trainer.variants import Stage


class Window:
    """Losses of the steps since the last line of metrics, kept apart: one that is not finite tells when it was.

    Args:
        stage: Whose phases the losses are of.
        max_steps: Steps that it has room for.
        device: Where the losses are; it is waited for when the window is closed.
        world: The processes that each have a part of the losses.
    """

    def __init__(self, stage: Stage, max_steps: int, device: torch.device, world: World) -> None:
        self.num_images = 0
        """Images of these steps."""
        self._world = world
        self._losses = {phase.name: torch.zeros(max_steps, device=device) for phase in stage.phases}
        self._num_images: dict[str, list[int]] = {phase.name: [] for phase in stage.phases}  # at each of the losses
        self._start_s = time.perf_counter()

    def add(self, losses: Mapping[str, Tensor], num_images: int) -> None:
        """Takes in a step's losses, scalars by phase."""
        self.num_images += num_images
        for name, loss in losses.items():
            self._losses[name][len(self._num_images[name])] = loss
            self._num_images[name].append(self.num_images)

    def close(self, position: Position) -> dict[str, float]:
        """Mean losses and speed; refuses losses that are not finite."""
        values = {}
        for name, num_images in self._num_images.items():
            losses = self._losses[name][: len(num_images)]
            self._world.add_up([losses])
            is_bad = ~losses.isfinite()
            if is_bad.any():
                first = int(is_bad.int().argmax())
                seen = position.images_seen - self.num_images + num_images[first]
                check_finite({f"{name}_loss": losses[first].item()}, replace(position, images_seen=seen))
            if num_images:
                values[f"{name}_loss"] = losses.mean().item()
        return values | {"images_per_s": self.num_images / (time.perf_counter() - self._start_s)}
