from math import sqrt
from statistics import stdev

import numpy as np
import pytest
import torch
from latentry_trainer.evaluation.distances import (
    MIN_ROWS,
    FeatureSet,
    frechet_distance,
    kernel_distance,
    neighbourhood_figures,
)
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors
from torch import Tensor


def normals(num_rows: int, num_features: int, seed: int = 0) -> Tensor:
    return torch.randn(num_rows, num_features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(num_rows: int, num_features: int) -> Tensor:
    """Rows whose mean is 0 and whose covariance is the identity, exactly."""
    rows = normals(num_rows, num_features)
    rows = rows - rows.mean(dim=0)
    white: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(rows.T.cov()), rows.T, upper=False)
    return white.T


def features(rows: Tensor) -> FeatureSet:
    return FeatureSet(features=rows)


def test_frechet_distance_of_gaussians_with_known_moments() -> None:
    rows = whitened(100, 3)
    a = features(rows * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([1.0, 0.0, 0.0]))
    b = features(rows * torch.tensor([3.0, 1.0, 0.5]) + torch.tensor([0.0, 2.0, 0.0]))
    # Diagonal covariances: the sum of (mean - mean)² + (std - std)²
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 4 + 1)


def test_frechet_distance_of_covariances_that_do_not_commute() -> None:
    a, b = features(normals(50, 5) @ normals(5, 5, seed=1)), features(normals(50, 5, seed=2) @ normals(5, 5, seed=3))
    root = sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    expected = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * np.trace(root).real
    assert frechet_distance(a, b) == pytest.approx(expected.item())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_frechet_distance_of_equal_and_of_singular_sets() -> None:
    a = features(normals(50, 8))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    flat = whitened(50, 8)
    flat[:, 3:] = 0
    # Variances of 1 in three dimensions, of 0 in five
    assert frechet_distance(features(flat), features(torch.zeros(50, 8, dtype=torch.float64))) == pytest.approx(3)
    assert frechet_distance(features(flat), features(flat)) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_of_points() -> None:
    a, b = features(torch.tensor([[1.0, 1.0]] * 7).double()), features(torch.tensor([[2.0, 0.0]] * 9).double())
    # k(a, a) = (2/2 + 1)³, k(b, b) = (4/2 + 1)³, k(a, b) = (2/2 + 1)³
    assert kernel_distance(a, b) == pytest.approx(8 + 27 - 2 * 8)


def test_kernel_distance_is_the_sum_over_pairs() -> None:
    a, b = normals(7, 4), normals(9, 4, seed=1) + 0.5

    def mean_kernel(x: Tensor, y: Tensor, *, without_self: bool) -> float:
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (without_self and i == j)]
        return float(np.mean([(x[i].dot(y[j]).item() / 4 + 1) ** 3 for i, j in pairs]))

    expected = mean_kernel(a, a, without_self=True) + mean_kernel(b, b, without_self=True)
    expected -= 2 * mean_kernel(a, b, without_self=False)
    assert kernel_distance(features(a), features(b)) == pytest.approx(expected)


def test_kernel_distance_is_unbiased() -> None:
    distances = [
        kernel_distance(features(normals(10, 4, seed=2 * i)), features(normals(10, 4, seed=2 * i + 1)))
        for i in range(400)
    ]
    assert np.mean(distances) == pytest.approx(0, abs=4 * stdev(distances) / sqrt(len(distances)))
    assert min(distances) < 0  # the biased estimate never is


def test_equal_sets_lie_among_each_other() -> None:
    a = features(normals(1200, 4))
    figures = neighbourhood_figures(a, a)
    # Every row lies in its own ball and is the j-th neighbour, j ≤ 5, of five rows in the mean.
    assert figures == {"precision": 1, "recall": 1, "density": pytest.approx(6 / 5), "coverage": 1}


def test_disjoint_sets_do_not_lie_among_each_other() -> None:
    figures = neighbourhood_figures(features(normals(60, 4)), features(normals(50, 4, seed=1) + 100))
    assert figures == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_collapsed_samples_are_precise_but_recall_nothing() -> None:
    reals = normals(600, 4)
    figures = neighbourhood_figures(features(reals[:1] + 1e-6 * normals(200, 4, seed=1)), features(reals))
    assert figures["precision"] == 1
    assert figures["recall"] <= 1 / 600  # at most the row that they sit on
    assert 0 < figures["coverage"] < 0.1


def test_neighbourhoods_of_more_rows_than_a_block() -> None:
    reals, samples = normals(1100, 3).numpy(), 0.8 * normals(700, 3, seed=1).numpy() + 0.3

    def radii(rows: np.ndarray, k: int) -> np.ndarray:
        distances: np.ndarray = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors()[0]  # without the row itself
        return distances[:, -1]

    distances = np.linalg.norm(reals[:, None] - samples, axis=2)
    inside = distances <= radii(reals, 5)[:, None]
    assert neighbourhood_figures(features(torch.from_numpy(samples)), features(torch.from_numpy(reals))) == {
        "precision": pytest.approx((distances <= radii(reals, 3)[:, None]).any(axis=0).mean()),
        "recall": pytest.approx((distances <= radii(samples, 3)).any(axis=1).mean()),
        "density": pytest.approx(inside.sum() / (5 * 700)),
        "coverage": pytest.approx(inside.any(axis=1).mean()),
    }


def test_the_fewest_rows() -> None:
    few = features(normals(MIN_ROWS, 2))
    assert neighbourhood_figures(few, few)["coverage"] == 1
