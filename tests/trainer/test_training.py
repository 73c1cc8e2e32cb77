import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from latentry_trainer.config import DataConfig, OptimizerConfig, TrainingConfig, VariantConfig
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.parallel import ALONE
from latentry_trainer.training.device import resolve_device
from latentry_trainer.training.ema import MovingAverage
from latentry_trainer.training.log import METRICS_FILE, Metrics, RunLog, read_metrics
from latentry_trainer.training.loop import train
from latentry_trainer.training.progress import DivergedError, Position, check_finite
from latentry_trainer.variants import Batch, Phase, Stage, Variant
from latentry_trainer.variants.gan import GAN
from latentry_trainer.variants.stacked import Stacked
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor, nn


@pytest.fixture(scope="module")
def dataset(slice_path: Path) -> Dataset:
    return load_dataset(DataConfig(name="npz", path=slice_path))


def run_log(folder: Path, images_seen: int = 0) -> RunLog:
    return RunLog(folder, Console(file=StringIO()), "test", 10_000, images_seen)


def run(
    variant: Variant,
    dataset: Dataset,
    config: TrainingConfig,
    folder: Path,
    state: Mapping[str, Any] | None = None,
    stop_after: int | None = None,
) -> list[Mapping[str, Any]]:
    """Trains, and returns the checkpoints."""
    saved: list[Mapping[str, Any]] = []
    num_steps = 0

    def should_stop() -> bool:
        nonlocal num_steps
        num_steps += 1
        return num_steps == stop_after

    with run_log(folder, state["position"]["images_seen"] if state else 0) as log:
        is_done = train(
            variant,
            dataset,
            config,
            state=state,
            save=lambda state: saved.append(deepcopy(state)),
            log=log,
            after_epoch=lambda _variant, _images_seen: None,
            world=ALONE,
            after_training=lambda _variant: None,
            should_stop=should_stop,
        )
    assert is_done is (stop_after is None)
    return saved


def config(**changes: object) -> TrainingConfig:
    defaults = TrainingConfig(
        num_epochs=2,
        batch_size=100,
        log_interval_images=500,
        optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
    )
    return replace(defaults, **changes)  # type: ignore[arg-type]


class Recorder(Variant):
    """A variant whose weight goes down by one a step in phase `a`, and whose phases write down what they saw."""

    Config = VariantConfig

    def __init__(self, intervals: Mapping[str, int], num_stages: int = 1) -> None:
        super().__init__(VariantConfig(), (1, 28, 28))
        self.intervals = intervals
        self.num_stages = num_stages
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in intervals})
        self.seen: list[tuple[str, Tensor]] = []

    def objective(self, name: str, batch: Batch) -> Tensor:
        self.seen.append((name, batch.inputs))
        return torch.stack([*self.weights.values()]).sum()  # its gradient is 1 for every phase's weight

    def stages(self, training: TrainingConfig) -> tuple[Stage, ...]:
        phases = tuple(
            Phase(
                name=name,
                module=_Holder(self.weights[name]),
                objective=partial(self.objective, name),
                optimizer=training.optimizer,
                interval=interval,
            )
            for name, interval in self.intervals.items()
        )
        return tuple(Stage(name=f"s{i}", num_epochs=training.num_epochs, phases=phases) for i in range(self.num_stages))

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"DECODE"})

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:  # noqa: ARG002
        return {}

    def graph_modules(self) -> tuple[()]:
        return ()

    def __deepcopy__(self, _memo: object) -> "Recorder":
        copy = Recorder(self.intervals, self.num_stages)
        copy.load_state_dict(self.state_dict())
        return copy


class _Holder(nn.Module):
    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight


SGD_OF_ONE = OptimizerConfig(name="sgd", learning_rate=1.0)


def test_a_step_runs_its_phases_in_order_each_at_its_interval_on_its_own_weights(
    dataset: Dataset, tmp_path: Path
) -> None:
    variant = Recorder({"a": 1, "b": 2})
    run(variant, dataset, config(num_epochs=1, batch_size=400, optimizer=SGD_OF_ONE), tmp_path)
    assert [name for name, _ in variant.seen] == ["a", "b", "a", "a", "b", "a", "a", "b", "a"]
    assert variant.weights["a"].item() == -6
    assert variant.weights["b"].item() == -3


def test_an_epoch_shows_every_image_once_in_its_own_order(dataset: Dataset, tmp_path: Path) -> None:
    variant = Recorder({"a": 1}, num_stages=2)
    run(variant, dataset, config(num_epochs=2, batch_size=1000, optimizer=SGD_OF_ONE), tmp_path)
    epochs = [torch.cat([inputs for _, inputs in variant.seen[i : i + 3]]) for i in range(0, 12, 3)]
    expected = sorted(row.tobytes() for row in (dataset.images_of("train").float() / 255).numpy())
    for i, epoch in enumerate(epochs):
        assert sorted(row.tobytes() for row in epoch.numpy()) == expected
        assert not any(torch.equal(epoch, other) for other in epochs[:i])


def test_stages_follow_each_other_and_are_named_in_the_metrics(dataset: Dataset, tmp_path: Path) -> None:
    run(Recorder({"a": 1}, num_stages=2), dataset, config(num_epochs=2, optimizer=SGD_OF_ONE), tmp_path)
    ends = [(line.stage, line.epoch, line.images_seen) for line in read_metrics(tmp_path) if line.split == "validation"]
    assert ends == [("s0", 1, 2400), ("s0", 2, 4800), ("s1", 1, 7200), ("s1", 2, 9600)]


def test_training_on_real_images_lowers_the_loss(dataset: Dataset, tmp_path: Path) -> None:
    run(Stacked(Stacked.Config(), (1, 28, 28)), dataset, config(num_epochs=4), tmp_path)
    lines = list(read_metrics(tmp_path))
    first, *_, last = (line.values["bce"] for line in lines if line.split == "validation")
    assert last < first - 0.02
    assert [line.images_seen for line in lines if line.split == "train"][:6] == [500, 1000, 1500, 2000, 2400, 2900]


def test_a_loss_that_is_not_finite_stops_the_run_and_no_checkpoint_is_made_of_it(
    dataset: Dataset, tmp_path: Path
) -> None:
    saved: list[Mapping[str, Any]] = []
    variant = Stacked(Stacked.Config(), (1, 28, 28))
    wild = config(optimizer=OptimizerConfig(name="sgd", learning_rate=1e12), checkpoint_interval_images=1)
    with run_log(tmp_path) as log, pytest.raises(DivergedError, match=r"after \d+ images.*learning_rate"):
        train(
            variant,
            dataset,
            wild,
            state=None,
            save=saved.append,
            log=log,
            after_epoch=lambda _variant, _images_seen: None,
            world=ALONE,
            after_training=lambda _variant: None,
            should_stop=lambda: False,
        )
    assert all(weight.isfinite().all() for state in saved for weight in state["weights"].values())


@pytest.mark.parametrize("variant_type", [Stacked, GAN])
@pytest.mark.parametrize("stop_after", [1, 7, 24, 30])
def test_a_stopped_run_goes_on_as_if_it_never_had_been(
    dataset: Dataset, tmp_path: Path, variant_type: type[Variant], stop_after: int
) -> None:
    def fresh() -> Variant:
        torch.manual_seed(0)
        return variant_type(variant_type.Config(), (1, 28, 28))

    (through,) = run(fresh(), dataset, config(), tmp_path)
    (stopped,) = run(fresh(), dataset, config(), tmp_path, stop_after=stop_after)
    assert stopped["position"]["images_seen"] < 4800
    (resumed,) = run(fresh(), dataset, config(), tmp_path, state=stopped)
    for part in ("weights", "average"):
        assert all(torch.equal(through[part][name], resumed[part][name]) for name in through[part])
    assert torch.equal(through["generator"], resumed["generator"])


def test_checkpoints_come_at_their_interval_and_at_the_end(dataset: Dataset, tmp_path: Path) -> None:
    saved = run(Recorder({"a": 1}), dataset, config(checkpoint_interval_images=1200, optimizer=SGD_OF_ONE), tmp_path)
    assert [state["position"]["images_seen"] for state in saved] == [1500, 2900, 4400, 4800]


def test_a_checkpoint_of_another_model_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    (state,) = run(Stacked(Stacked.Config(codings_size=5), (1, 28, 28)), dataset, config(), tmp_path, stop_after=1)
    with pytest.raises(ValueError, match="the checkpoint does not fit the configuration"):
        run(Stacked(Stacked.Config(), (1, 28, 28)), dataset, config(), tmp_path, state=state)


class Numbers(Recorder):
    """One weight and one buffer."""

    def __init__(self, weight: float, statistic: float = 0.0) -> None:
        super().__init__({})
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.register_buffer("statistic", torch.tensor([statistic]))
        self.register_buffer("count", torch.tensor([int(statistic)]))

    def __deepcopy__(self, _memo: object) -> "Numbers":
        return Numbers(self.weight.item(), self.get_buffer("statistic").item())


def moving_average(variant: Numbers, *, half_life_images: float) -> MovingAverage:
    """An average that begins with 8, of weights that are 0 from then on."""
    average = MovingAverage(variant, half_life_images)
    with torch.no_grad():
        variant.weight.zero_()
    return average


def test_the_average_loses_half_of_a_weight_in_its_half_life() -> None:
    average = moving_average(Numbers(8.0), half_life_images=50)
    for _ in range(10):
        average.update(num_images=10, images_seen=10**6)
    assert average.variant.state_dict()["weight"].item() == pytest.approx(2.0)


def test_the_average_soon_forgets_the_first_weights() -> None:
    average = moving_average(Numbers(8.0), half_life_images=1e9)
    average.update(num_images=10, images_seen=200)
    assert average.variant.state_dict()["weight"].item() == pytest.approx(4.0)


def test_a_half_life_of_zero_is_the_last_weights() -> None:
    average = moving_average(Numbers(8.0), half_life_images=0)
    average.update(num_images=10, images_seen=10)
    assert average.variant.state_dict()["weight"].item() == 0.0


def test_statistics_are_taken_over_as_they_are_and_counters_are_not() -> None:
    variant = Numbers(8.0, statistic=1.0)
    average = MovingAverage(variant, 1e9)
    variant.get_buffer("statistic").fill_(5.0)
    variant.get_buffer("count").fill_(5)
    average.update(num_images=10, images_seen=200)
    assert average.variant.get_buffer("statistic").item() == 5.0
    assert average.variant.get_buffer("count").item() == 1


def test_metrics_after_a_checkpoint_are_dropped_on_resuming(tmp_path: Path) -> None:
    def line(images_seen: int) -> Metrics:
        return Metrics(images_seen=images_seen, stage="s", epoch=1, split="train", values={"a_loss": images_seen / 10})

    with run_log(tmp_path) as log:
        for images_seen in (1, 2, 3):
            log.write(line(images_seen))
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"images_seen": 4, "stage"')  # a kill in the middle of a line
    with run_log(tmp_path, images_seen=2) as log:
        log.write(line(5))
    assert list(read_metrics(tmp_path)) == [line(1), line(2), line(5)]
    assert all(json.loads(text) for text in (tmp_path / METRICS_FILE).read_text().splitlines())


def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    with run_log(tmp_path) as log:
        log.write(Metrics(images_seen=500, stage="s", epoch=1, split="train", values={"a_loss": 0.25}))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/a_loss")] == [(500, 0.25)]


def test_without_a_terminal_each_epoch_is_a_plain_line(dataset: Dataset, tmp_path: Path) -> None:
    output = StringIO()
    with RunLog(tmp_path, Console(file=output), "test", 4800, 0) as log:
        train(
            Stacked(Stacked.Config(), (1, 28, 28)),
            dataset,
            config(),
            state=None,
            save=lambda _: None,
            log=log,
            after_epoch=lambda _variant, _images_seen: None,
            world=ALONE,
            after_training=lambda _variant: None,
            should_stop=lambda: False,
        )
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("joint 2/2 | train: autoencoder_loss 0.")
    assert "validation: bce 0." in lines[1]
    assert "\x1b" not in output.getvalue()


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    output = StringIO()
    with RunLog(tmp_path, Console(file=output, force_terminal=True, width=120), "stacked", 1000, 0) as log:
        values = {"autoencoder_loss": 0.25, "images_per_s": 31_000.0}
        log.write(Metrics(images_seen=500, stage="s", epoch=1, split="train", values=values))
    assert "50%" in output.getvalue()
    assert "autoencoder_loss 0.2500, 31 000 images/s" in output.getvalue()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--training\.device: cuda was asked for"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"


@pytest.mark.parametrize(("step", "epoch"), [(0, 3), (7, 4)])
def test_a_figure_that_is_not_finite_is_named_with_its_epoch(step: int, epoch: int) -> None:
    position = Position(epoch=3, step=step, images_seen=900)
    check_finite({"bce": 0.3}, position)
    with pytest.raises(DivergedError, match=rf"mse is inf after 900 images \(epoch {epoch}\)"):
        check_finite({"bce": 0.3, "mse": float("inf")}, position)
