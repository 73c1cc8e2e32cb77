"""Flat vectors: one's own, and the toy in space."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.config import DataConfig
from latentry_trainer.data import load_dataset, to_floats


def own(path: Path, vectors: np.ndarray) -> DataConfig:
    np.savez(path, images=vectors)
    return DataConfig(name="npz", path=path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_stay_floats(tmp_path: Path, dtype: type[np.floating]) -> None:
    vectors = np.random.default_rng(0).random((20, 7)).astype(dtype)
    dataset = load_dataset(own(tmp_path / "a.npz", vectors))
    assert dataset.input_shape == (7,)
    assert dataset.images.dtype == torch.float32
    rows = to_floats(dataset.images).numpy()
    assert np.array_equal(np.sort(rows, axis=0), np.sort(vectors.astype(np.float32), axis=0))
    assert dataset.sha256 == sha256(rows.tobytes()).hexdigest()


def test_vectors_of_bytes_stay_bytes(tmp_path: Path) -> None:
    dataset = load_dataset(own(tmp_path / "a.npz", np.full((20, 7), 51, np.uint8)))
    assert dataset.images.dtype == torch.uint8
    assert (to_floats(dataset.images) == 0.2).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001, 1.001])
def test_one_value_that_is_wrong_is_found(tmp_path: Path, value: float) -> None:
    vectors = np.full((20, 7), 0.5)
    vectors[13, 5] = value
    with pytest.raises(ValueError, match=r"--data\.path: `images` of .*a\.npz has values from .*, expected finite"):
        load_dataset(own(tmp_path / "a.npz", vectors))


def test_the_toy_lies_near_a_plane_that_scaling_leaves_as_it_was() -> None:
    dataset = load_dataset(DataConfig(name="toy-3d"))
    points = dataset.images.double()
    assert dataset.input_shape == (3,)
    assert (points.min().item(), points.max().item()) == (0, 1)
    centred = points - points.mean(dim=0)
    _, deviations, axes = torch.linalg.svd(centred, full_matrices=False)
    assert deviations[2] < 0.3 * deviations[1]
    normal = axes[2] / axes[2, 2]  # z = 0.1 x + 0.3 y in the generator's units: one factor for all keeps the slopes
    assert normal.tolist() == pytest.approx([-0.1, -0.3, 1.0], abs=0.03)
