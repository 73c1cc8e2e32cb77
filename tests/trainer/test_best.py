"""The best epoch of a run is kept, measured and published, and survives a stop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from latentry_trainer.config import DataConfig, OptimizerConfig
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.training.best import better, take_best
from latentry_trainer.training.progress import Position
from latentry_trainer.variants import Batch
from torch import Tensor

from tests.trainer.test_training import Recorder, config, run

TARGET = -30.0  # of the weight, which goes down by one a step: 24 steps an epoch
SETTINGS = {
    "num_epochs": 3,
    "average_half_life_images": 0.0,
    "optimizer": OptimizerConfig(name="sgd", learning_rate=1.0),
}


class Aiming(Recorder):
    """Judged by how far its weight is from the target."""

    best_by = "distance"

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:  # noqa: ARG002
        return {"distance": (self.weights["a"] - TARGET).abs()}

    def __deepcopy__(self, _memo: object) -> "Aiming":
        copy = Aiming(self.intervals, self.num_stages)
        copy.load_state_dict(self.state_dict())
        return copy


class Unjudged(Aiming):
    """The same without the figure, as of images that the classifier does not know."""

    def validation_metrics(self, batch: Batch) -> Mapping[str, Tensor]:  # noqa: ARG002
        return {}

    def __deepcopy__(self, _memo: object) -> "Unjudged":
        copy = Unjudged(self.intervals, self.num_stages)
        copy.load_state_dict(self.state_dict())
        return copy


@pytest.fixture(scope="module")
def dataset(slice_path: Path) -> Dataset:
    return load_dataset(DataConfig(name="npz", path=slice_path))


def weight(state: Mapping[str, Any], part: str) -> float:
    value: float = state[part]["weights.a"].item()
    return value


def test_a_finished_run_has_the_weights_of_its_best_epoch(dataset: Dataset, tmp_path: Path) -> None:
    *_, last = run(Aiming({"a": 1}), dataset, config(**SETTINGS), tmp_path)
    assert weight(last, "weights") == -72
    assert weight(last, "average") == -24
    assert last["best"]["images_seen"] == 2_400
    assert last["best"]["value"] == 6


def test_the_best_epoch_survives_a_stop(dataset: Dataset, tmp_path: Path) -> None:
    *_, stopped = run(Aiming({"a": 1}), dataset, config(**SETTINGS), tmp_path, stop_after=60)
    assert weight(stopped, "average") == -60, "a run goes on with its last weights"
    *_, last = run(Aiming({"a": 1}), dataset, config(**SETTINGS), tmp_path, state=stopped)
    assert weight(last, "average") == -24


def test_epochs_of_earlier_stages_do_not_count(dataset: Dataset, tmp_path: Path) -> None:
    *_, last = run(Aiming({"a": 1}, num_stages=2), dataset, config(**SETTINGS | {"num_epochs": 1}), tmp_path)
    assert weight(last, "average") == -48
    assert last["best"]["stage"] == 1


def test_without_the_figure_the_last_epoch_is_kept(dataset: Dataset, tmp_path: Path) -> None:
    *_, last = run(Unjudged({"a": 1}), dataset, config(**SETTINGS), tmp_path)
    assert weight(last, "average") == -72
    assert last["best"] is None


def test_the_first_of_two_as_good_epochs_is_kept_and_its_weights_are_its_own() -> None:
    average = Aiming({"a": 1})
    best = better(None, average, {"distance": 2.0}, Position(images_seen=10))
    assert best is not None
    with torch.no_grad():
        average.weights["a"].fill_(7)
    assert better(best, average, {"distance": 2.0}, Position(images_seen=20)) is best
    take_best(average, best)
    assert average.weights["a"].item() == 0
