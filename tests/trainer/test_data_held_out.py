"""A class held out of training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentry_trainer.config import DataConfig
from latentry_trainer.data import Dataset, load_dataset
from latentry_trainer.data.held_out import hold_out


@pytest.fixture
def config(slice_path: Path) -> DataConfig:
    return DataConfig(name="npz", path=slice_path)


def test_only_test_images_are_of_the_class(config: DataConfig) -> None:
    whole, dataset = load_dataset(config), load_dataset(replace(config, held_out_label="3"))
    assert whole.held_out_label is None
    assert dataset.held_out_label == 3
    assert torch.equal(dataset.images_of("test"), whole.images_of("test"))
    for split in ("train", "validation"):
        before, after = whole.labels_of(split), dataset.labels_of(split)
        assert before is not None
        assert after is not None
        assert torch.equal(after, before[before != 3])
        assert torch.equal(dataset.images_of(split), whole.images_of(split)[before != 3])
    assert dataset.sha256 != whole.sha256


def own(path: Path, labels: np.ndarray | None) -> Dataset:
    vectors = np.zeros((20 if labels is None else len(labels), 4), np.float32)
    arrays: dict[str, Any] = {"images": vectors} if labels is None else {"images": vectors, "labels": labels}
    np.savez(path, **arrays)
    return load_dataset(DataConfig(name="npz", path=path, held_out_label="1"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "data set npz has no labels, got '1'"),
        (np.zeros(20, int), r"expected a label of data set npz \(0\), got '1'"),
        (np.ones(20, int), "data set npz has train images of '1' only"),
        (np.where(np.arange(1000) == 0, 1, 0), "0 of the 100 test images of data set npz are of '1'"),
        (np.where(np.arange(1000) == 0, 0, 1), "data set npz has validation images of '1' only"),
    ],
)
def test_labels_that_cannot_be_held_out(tmp_path: Path, labels: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=rf"option --data\.held_out_label: {message}"):
        own(tmp_path / "a.npz", labels)


@pytest.mark.parametrize(("label", "number"), [("shoe", 1), ("2", 0), ("0", 0), ("3", 3)])
def test_a_class_goes_by_its_name_or_else_its_number(config: DataConfig, label: str, number: int) -> None:
    dataset = replace(load_dataset(config), label_names=("2", "shoe", *"abcdefgh"))
    assert hold_out(dataset, label).held_out_label == number
