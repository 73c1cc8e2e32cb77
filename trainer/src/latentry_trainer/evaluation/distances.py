"""How far one set of features is from another: pure functions, the paper's formula above each, in double precision."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_PRECISION_NEIGHBOURS = 3  # k of Kynkäänniemi et al. 2019
_COVERAGE_NEIGHBOURS = 5  # k of Naeem et al. 2020
_BLOCK_ROWS = 100  # against 5 000 rows, a block stays in the cache

MIN_ROWS = _COVERAGE_NEIGHBOURS + 1
"""Every row needs as many neighbours as the largest k."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """Features of images, and what of them alone every comparison needs, computed once."""

    features: Tensor
    """float64 [N, F], N at least `MIN_ROWS`."""

    @cached_property
    def mean(self) -> Tensor:
        """The mean features, [F]."""
        return self.features.mean(dim=0)

    @cached_property
    def covariance(self) -> Tensor:
        """[F, F], divided by N - 1."""
        return self.features.T.cov()

    @cached_property
    def kernel_mean(self) -> float:
        """The mean of the kernel over all pairs of two different rows."""
        num_rows = len(self.features)
        diagonal = _kernel(self.features[:, None], self.features[:, :, None]).sum().item()
        return (_kernel_sum(self.features, self.features) - diagonal) / (num_rows * (num_rows - 1))

    @cached_property
    def radii(self) -> Tensor:
        """Distances to the nearest rows in rising order, [N, k + 1] for the largest k; the first is the row itself."""
        blocks = _distances(self.features, self.features)
        return torch.cat([block.topk(_COVERAGE_NEIGHBOURS + 1, largest=False).values for _, block in blocks])


# ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½): Heusel et al. 2017, equation 6.
# (Σ₁ Σ₂)^½ has the trace of (Σ₁^½ Σ₂ Σ₁^½)^½, which is symmetric: its eigenvalues are real, also of singular Σ.
def frechet_distance(a: FeatureSet, b: FeatureSet) -> float:
    """Fréchet distance of the two Gaussians with the sets' means and covariances: at least 0, 0 for equal moments."""
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    trace = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * trace
    return max(float(distance), 0.0)  # rounding alone goes below 0


# MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y), x ≠ x' and y ≠ y': Bińkowski et al. 2018, section 4
def kernel_distance(a: FeatureSet, b: FeatureSet) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (KID): for equal distributions around 0, also below."""
    return a.kernel_mean + b.kernel_mean - 2 * _kernel_sum(a.features, b.features) / (len(a.features) * len(b.features))


# Precision and recall: Kynkäänniemi et al. 2019, equations 1 and 2. Density and coverage: Naeem et al. 2020, section 3
def neighbourhood_figures(samples: FeatureSet, reals: FeatureSet) -> dict[str, float]:
    """How the samples lie among the real rows, by balls around each row that reach to its k-th nearest neighbour.

    - precision: part of the samples that lie in a real row's ball, k = 3;
    - recall: part of the real rows that lie in a sample's ball, k = 3;
    - density: in how many real rows' balls a sample lies, in the mean and divided by k = 5; can be above 1;
    - coverage: part of the real rows whose ball holds a sample, k = 5.
    """
    num_reals, num_samples = len(reals.features), len(samples.features)
    is_precise = torch.zeros(num_samples, dtype=torch.bool)
    num_recalled = num_covered = num_inside = 0
    for rows, distances in _distances(reals.features, samples.features):
        is_precise |= (distances <= reals.radii[rows, _PRECISION_NEIGHBOURS, None]).any(dim=0)
        num_recalled += int((distances <= samples.radii[:, _PRECISION_NEIGHBOURS]).any(dim=1).sum())
        is_inside = distances <= reals.radii[rows, _COVERAGE_NEIGHBOURS, None]
        num_inside += int(is_inside.sum())
        num_covered += int(is_inside.any(dim=1).sum())
    return {
        "precision": is_precise.double().mean().item(),
        "recall": num_recalled / num_reals,
        "density": num_inside / (_COVERAGE_NEIGHBOURS * num_samples),
        "coverage": num_covered / num_reals,
    }


def _distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances of a [N, F] from b [M, F], in blocks: rows of a, and [rows, M]."""
    for start in range(0, len(a), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        yield rows, torch.cdist(a[rows], b)


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    """Sum of the kernel over all pairs of rows of a [N, F] and b [M, F]."""
    return sum(_kernel(a[start : start + _BLOCK_ROWS], b.T).sum().item() for start in range(0, len(a), _BLOCK_ROWS))


# k(x, y) = (x · y / F + 1)³: Bińkowski et al. 2018, section 4
def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The polynomial kernel of a [..., N, F] and b [..., F, M]: [..., N, M]."""
    return (a @ b / a.shape[-1] + 1) ** 3
