"""Progressive growing (Karras et al. 2017): both networks begin with small images and grow, a resolution a stage."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from latentry_trainer.config import STRICT, Count, TrainingConfig
from latentry_trainer.variants.adversarial import Adversarial
from latentry_trainer.variants.base import Batch, Objective, Stage
from latentry_trainer.variants.growing_networks import FIRST_SIZE, GrowingCritic, Growth, doubled, faded, halved


class Growing(Adversarial):
    """A GAN whose networks grow by one resolution a stage, from `first_resolution` to one that holds the images.

    That is the smallest power of two that is no less than their height and width, 4 at least: images of other sizes
    have a black margin around them in training, which is cut off what is generated. Inside, values are in [-1, 1].
    """

    @dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
    class Config(Adversarial.Config):
        """Options of progressive growing."""

        first_resolution: Count = FIRST_SIZE
        """Pixels of the first stage's images, a power of two from 4; the images' own, padded: do not grow."""
        last_stage_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
        """The part of the epochs that the last stage has, the slowest; the others share the rest, at least one each."""
        fade_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
        """The part of each stage but the first in which its layers fade in; the rest of it is for all to settle."""
        base_feature_maps: Count = 512
        """Feature maps of the layers at a resolution are this divided by the resolution in pixels, at least 1 …"""
        max_feature_maps: Count = 64
        """… and at most this."""
        blur: bool = False
        """Filter maps by [1 2 1] after each doubling and before each halving of their size."""

    critic: GrowingCritic
    """Images of the present resolution, labels, and the growth -> scores [N]."""
    growth: Tensor
    """Levels that are faded in, a scalar; see `Growth.total`. A buffer, as what is measured and exported follows it."""

    def __init__(self, config: Config, input_shape: tuple[int, ...], num_labels: int = 0) -> None:
        _refuse_unfit(config)
        super().__init__(config, input_shape, num_labels)
        self.frame = Frame(input_shape)
        self.resolutions = _resolutions(config, self.frame)
        self.first_level = self.frame.num_levels - len(self.resolutions)
        self.num_maps = tuple(
            min(config.max_feature_maps, max(1, config.base_feature_maps // (FIRST_SIZE << level)))
            for level in range(self.frame.num_levels)
        )
        self.critic = GrowingCritic(input_shape[0], self.num_maps, num_labels=num_labels, blur=config.blur)
        self.register_buffer("growth", torch.tensor(Growth(self.first_level).total))
        self._growth_of_step: Growth | None = None
        self._fade_fraction = config.fade_fraction
        self._last_stage_fraction = config.last_stage_fraction

    @property
    def judges_alone(self) -> bool:
        """Never: the critic sees how much the images of a batch differ."""
        return False

    @property
    def now(self) -> Growth:
        """How far the networks have grown: in a step where that step is, else where the last one was."""
        return self._growth_of_step or Growth.of(float(self.growth))

    def reals(self, batch: Batch) -> Tensor:
        """The images [N, C, R, R] of the present resolution, cross-faded with those of half as many pixels."""
        growth = self.now
        images = self.frame.pad(batch.inputs)
        for _ in range(self.frame.num_levels - 1 - growth.level):
            images = halved(images)
        return images if growth.alpha == 1 else faded(doubled(halved(images)), images, growth.alpha)

    def criticise(self, images: Tensor, labels: Tensor | None, batch: Batch | None = None) -> Tensor:  # noqa: ARG002 (nothing in the critic is random)
        """Scores [N] of what `reals` or `fakes` gave."""
        scores: Tensor = self.critic(images, labels, self.now)
        return scores

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        """One stage a resolution, each with optimisers of its own."""
        epochs = self._epochs(training.num_epochs)
        return tuple(
            Stage(
                name=f"{resolution}x{resolution}",
                num_epochs=num_epochs,
                phases=tuple(
                    replace(phase, objective=partial(self._in_step, level, phase.objective))
                    for phase in self.phases(training)
                ),
            )
            for level, (resolution, num_epochs) in enumerate(
                zip(self.resolutions, epochs, strict=True), self.first_level
            )
        )

    def check_training(self, training: TrainingConfig, num_images: int) -> None:
        """Refuses fewer epochs than stages."""
        super().check_training(training, num_images)
        if training.num_epochs < len(self.resolutions):
            raise ValueError(
                f"option --training.num_epochs: expected at least {len(self.resolutions)}, one for each of the "
                f"resolutions {', '.join(map(str, self.resolutions))}, got {training.num_epochs}; a larger "
                "--model.first_resolution has fewer"
            )

    def grown(self, network: nn.Module) -> nn.Module:
        """A generator network as it is now: its inputs -> images [N, *input] in [0, 1]."""
        return _Grown(network, self.frame, self.now)

    def _epochs(self, num_epochs: int) -> list[int]:
        """Epochs of each stage; what does not divide is for the last."""
        num_others = len(self.resolutions) - 1
        others = [max(1, int(num_epochs * (1 - self._last_stage_fraction)) // max(1, num_others))] * num_others
        return [*others, num_epochs - sum(others)]

    def _in_step(self, level: int, objective: Objective, batch: Batch) -> Tensor:
        """An objective at a level, which fades in as far as the batch's place in the stage says: nothing else does."""
        fades = level > self.first_level and batch.progress < self._fade_fraction
        growth = Growth(level, batch.progress / self._fade_fraction if fades else 1.0)
        self.growth.fill_(growth.total)
        self._growth_of_step = growth  # so that no step waits for the device
        try:
            return objective(batch)
        finally:
            self._growth_of_step = None


class Frame(nn.Module):
    """Between images [N, *input] in [0, 1] and square ones in [-1, 1] with as many pixels as a power of two.

    Args:
        input_shape: Shape of one image.

    Raises:
        ValueError: It is no image's.
    """

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ValueError(f"growing networks take images, got inputs of shape {'x'.join(map(str, input_shape))}")
        _, height, width = self.input_shape = input_shape
        self.num_levels = max(1, (max(height, width) - 1).bit_length() - 1)
        self.size = FIRST_SIZE << (self.num_levels - 1)
        self.top, self.left = (self.size - height) // 2, (self.size - width) // 2

    def pad(self, images: Tensor) -> Tensor:
        """Images [N, *input] in [0, 1] -> [N, C, size, size] in [-1, 1], with a black margin around them."""
        _, height, width = self.input_shape
        right, bottom = self.size - width - self.left, self.size - height - self.top
        return functional.pad(images, (self.left, right, self.top, bottom)) * 2 - 1

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, R, R], about in [-1, 1], of any level's resolution -> [N, *input] in [0, 1]."""
        _, height, width = self.input_shape
        factor = self.size // images.shape[-1]
        if factor > 1:
            images = functional.interpolate(images, scale_factor=factor, mode="nearest")
        images = images[:, :, self.top : self.top + height, self.left : self.left + width]
        return ((images + 1) / 2).clamp(0, 1)


class _Grown(nn.Module):
    """A generator network at one growth, framed."""

    def __init__(self, network: nn.Module, frame: Frame, growth: Growth) -> None:
        super().__init__()
        self.network = network
        self.frame = frame
        self.growth = growth

    def forward(self, *inputs: Tensor | None) -> Tensor:
        images: Tensor = self.frame(self.network(*inputs, growth=self.growth))
        return images


def _resolutions(config: Growing.Config, frame: Frame) -> Sequence[int]:
    """The stages' resolutions."""
    possible = [FIRST_SIZE << level for level in range(frame.num_levels)]
    if config.first_resolution not in possible:
        _, height, width = frame.input_shape
        raise ValueError(
            f"option --model.first_resolution: expected a power of two from {FIRST_SIZE} to {frame.size}, which holds "
            f"images of {height}x{width} pixels, got {config.first_resolution}"
        )
    return possible[possible.index(config.first_resolution) :]


def _refuse_unfit(config: Growing.Config) -> None:
    """Refuses what growing networks do not have."""
    if config.replay_size:
        raise ValueError("option --model.replay_size: growing networks keep no images, whose size would change")
    if config.spectral_norm:
        raise ValueError("option --model.spectral_norm: the weights of growing networks are scaled by their fan-in")
