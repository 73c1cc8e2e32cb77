"""The training loop: one for every variant. A run is a list of stages, a step a list of phases."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from latentry_trainer.config import TrainingConfig
from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.evaluation import validate
from latentry_trainer.parallel import World
from latentry_trainer.training.best import better, take_best
from latentry_trainer.training.ema import MovingAverage
from latentry_trainer.training.log import Log, Metrics
from latentry_trainer.training.optimizers import make_optimizer
from latentry_trainer.training.progress import DivergedError, Position, check_finite
from latentry_trainer.training.window import Window
from latentry_trainer.variants import Batch, Stage, Variant


def train(
    variant: Variant,  # on the device to train on
    dataset: Dataset,
    config: TrainingConfig,
    *,
    state: Mapping[str, Any] | None,  # what `save` was given, to go on from
    save: Callable[[Mapping[str, Any]], None],  # keeps a checkpoint: dictionaries and lists of tensors and JSON's types
    log: Log,
    world: World,  # the processes that share each batch
    after_epoch: Callable[[Variant, int], None],  # given the average and the images seen
    after_training: Callable[[Variant], None],  # given the average, to complete it before the last checkpoint
    should_stop: Callable[[], bool],  # asked after each step; the same answer in every process
) -> bool:
    """Trains a variant. The result is in the checkpoint that is saved at the end, and when asked to stop.

    Returns:
        Whether the run is done: False where it was asked to stop.

    Raises:
        DivergedError: A loss, a weight or a validation figure became infinite or not a number.
            Checkpoints saved before are good.
        OSError: A checkpoint could not be saved.
        ValueError: The checkpoint does not fit the variant, or a batch has fewer rows than there are processes.
    """
    # Data: on the device, one byte a value.
    device = next(variant.parameters()).device
    images = dataset.images_of("train").to(device)
    labels = dataset.labels_of("train")
    labels = None if labels is None else labels.to(device)
    world.check_batches(len(images), config.batch_size)

    # Average: what is measured and exported.
    moving_average = MovingAverage(variant, config.average_half_life_images)
    average = moving_average.variant
    best = state.get("best") if state else None

    # Position: the beginning, or the checkpoint's.
    stages = variant.stages(config)
    position = Position(**state["position"]) if state else Position()
    generator = Generator(device).manual_seed(config.seed)
    last_save = position.images_seen
    start_s = time.perf_counter() - position.wall_time_s

    for stage in stages[position.stage :]:
        # Optimisers: one a phase, new in each stage.
        optimizers = {phase.name: make_optimizer(phase.optimizer, phase.module.parameters()) for phase in stage.phases}
        if state:
            _restore(state, variant, average, optimizers, generator)
            state = None

        while position.epoch < stage.num_epochs:
            # Epoch: every image once, in the epoch's own order.
            variant.train()
            num_stage_images = stage.num_epochs * len(images)
            batches = torch.split(_order(len(images), config.seed, position).to(device), config.batch_size)
            window = Window(stage, len(batches), device, world)

            for rows in batches[position.step :]:
                # Step: each phase moves its own weights, then the average follows.
                own_rows = world.own(rows)
                stage_images_seen = position.epoch * len(images) + position.step * config.batch_size
                batch = Batch(
                    inputs=to_floats(images[own_rows]),
                    labels=None if labels is None else labels[own_rows],
                    generator=generator,
                    images_seen=stage_images_seen,
                    progress=stage_images_seen / num_stage_images,
                    num_rows=len(rows),
                    world=world,
                )
                losses = _step(stage, optimizers, batch, position.step)
                window.add(losses, len(rows))
                position.step += 1
                position.images_seen += len(rows)
                moving_average.update(num_images=len(rows), images_seen=position.images_seen)

                is_epoch_done = position.step == len(batches)
                is_stopping = should_stop()
                if window.num_images < config.log_interval_images and not is_epoch_done and not is_stopping:
                    continue

                # Metrics: only here is the device waited for.
                log.write(_metrics(stage, position, "train", window.close(position)))
                window = Window(stage, len(batches), device, world)

                # Validation: after each epoch.
                if is_epoch_done:
                    figures = validate(average, dataset, "validation", device)
                    check_finite(figures, position)
                    log.write(_metrics(stage, position, "validation", figures))
                    best = better(best, average, figures, position)
                    log.end_epoch(stage.name, position.epoch + 1, stage.num_epochs)
                    after_epoch(average, position.images_seen)
                    position.epoch, position.step = position.epoch + 1, 0

                # Checkpoint: at its interval, at the end, and before stopping.
                position.wall_time_s = time.perf_counter() - start_s
                is_done = position.stage == len(stages) - 1 and position.epoch == stage.num_epochs
                if is_done:
                    take_best(average, best)
                    after_training(average)
                if is_done or is_stopping or position.images_seen - last_save >= config.checkpoint_interval_images:
                    save({**_state(variant, average, optimizers, generator, position), "best": best})
                    last_save = position.images_seen
                if is_stopping:
                    return is_done
        position.stage, position.epoch = position.stage + 1, 0
    return True


def initial_state(variant: Variant, config: TrainingConfig) -> dict[str, Any]:
    """The checkpoint of a run before its first step, for weights that are not fresh."""
    generator = Generator(next(variant.parameters()).device).manual_seed(config.seed)
    first = variant.stages(config)[0]
    optimizers = {phase.name: make_optimizer(phase.optimizer, phase.module.parameters()) for phase in first.phases}
    return {**_state(variant, variant, optimizers, generator, Position()), "best": None}


def _order(num_images: int, seed: int, position: Position) -> Tensor:
    """The order of an epoch's images [num_images]: a function of seed, stage and epoch alone."""
    mixed = np.random.SeedSequence((seed, position.stage, position.epoch)).generate_state(1, np.uint64)[0]
    return torch.randperm(num_images, generator=Generator().manual_seed(int(mixed)))


def _step(stage: Stage, optimizers: Mapping[str, Optimizer], batch: Batch, step: int) -> dict[str, Tensor]:
    """Runs the phases that are due on a batch; returns their losses, which add up over the processes."""
    losses = {}
    for phase in stage.phases:
        if step % phase.interval == 0:
            optimizer = optimizers[phase.name]
            weights: list[Tensor] = optimizer.param_groups[0]["params"]
            loss = phase.objective(batch)
            if batch.world.size > 1:
                loss = loss * batch.share
            torch.autograd.backward(loss, inputs=weights)  # this phase's weights only
            batch.world.add_up([weight.grad for weight in weights if weight.grad is not None])
            optimizer.step()
            optimizer.zero_grad()
            if phase.after_step:
                phase.after_step()
            losses[phase.name] = loss.detach()
    return losses


def _metrics(
    stage: Stage, position: Position, split: Literal["train", "validation"], values: Mapping[str, float]
) -> Metrics:
    return Metrics(
        images_seen=position.images_seen, stage=stage.name, epoch=position.epoch + 1, split=split, values=values
    )


def _state(
    variant: Variant, average: Variant, optimizers: Mapping[str, Optimizer], generator: Generator, position: Position
) -> dict[str, Any]:
    """All that the run needs to go on; refuses weights that are not finite."""
    weights = variant.state_dict()
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise DivergedError(
                f"weights {name} are not finite after {position.images_seen} images; "
                "try a new run with a smaller --training.optimizer.learning_rate"
            )
    return {
        "weights": weights,
        "average": average.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "generator": generator.get_state(),
        "position": asdict(position),
    }


def _restore(
    state: Mapping[str, Any],
    variant: Variant,
    average: Variant,
    optimizers: Mapping[str, Optimizer],
    generator: Generator,
) -> None:
    """Takes over what `_state` gave."""
    try:
        variant.load_state_dict(state["weights"])
        average.load_state_dict(state["average"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        generator.set_state(state["generator"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # PyTorch's takes several lines
        raise ValueError(f"the checkpoint does not fit the configuration: {reason}") from error
