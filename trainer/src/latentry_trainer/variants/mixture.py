"""A prior for autoencoders that are trained without one: a Gaussian mixture over their codings (Ghosh et al. 2020).

Codings are reduced by PCA first, so that the prior of a wide coding stays small.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

_MAX_EXACT_PCA = 1_000  # values of a coding: the time of exact PCA grows with their third power
_MAX_COMPONENTS = 32
_MAX_DIMENSIONS = 64  # of the reduced codings
_ROWS_PER_PARAMETER = 10  # codings a component and dimension: a component of fewer would learn them by heart
_NUM_ITERATIONS = 10  # of expectation and maximisation: samples were no better after 30 or 100
_REGULARISATION = 1e-4  # least variance, as part of the mean variance of a dimension


class MixturePrior(nn.Module):
    """A Gaussian mixture over reduced codings, as a map from noise to codings; empty until it is fitted.

    p(z) = sum over k of w_k N(m_k, L_k L_kᵀ), codings = clip(centre + z directions, low, high). All of it is in
    buffers, whose sizes are those of what was fitted: loading a state takes over the state's sizes.
    """

    thresholds: Tensor
    """Φ⁻¹(w_1 + … + w_k) of all components but the last [C - 1]: noise above k of them picks component k."""
    means: Tensor
    """m [C, D]."""
    factors: Tensor
    """L, lower triangular [C, D, D]."""
    directions: Tensor
    """Principal directions of the codings [D, prod(codings)]."""
    centre: Tensor
    """Mean of the codings [*codings]."""
    low: Tensor
    """Least values that were seen [*codings]: no activation, be it a ReLU or a sigmoid, is left."""
    high: Tensor
    """Largest values that were seen [*codings]."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("thresholds", "means", "factors", "directions", "centre", "low", "high"):
            self.register_buffer(name, torch.empty(0))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:  # noqa: ANN401
        for name, buffer in self.named_buffers():
            if prefix + name in state_dict:
                setattr(self, name, buffer.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def is_fitted(self) -> bool:
        """Whether it maps noise to codings."""
        return self.means.numel() > 0

    @property
    def noise_size(self) -> int:
        """Noise values a row: one picks the component, the others are its Gaussian's."""
        return 1 + self.means.shape[1]

    @property
    def codings_shape(self) -> tuple[int, ...]:
        """Shape of one row of codings."""
        return tuple(self.centre.shape)

    def fit(self, codings: Tensor, *, seed: int) -> None:
        """Fits the mixture by expectation and maximisation: the same bits for the same codings, seed and machine.

        Args:
            codings: [N, *codings], N at least 2.
            seed: Of the components' first means, and of the PCA of wide codings.
        """
        rows = codings.flatten(1).double().cpu().numpy()
        # One thread adds in one order.
        with threadpool_limits(1), warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            pca, mixture = _fit(rows, seed)
        fitted = {
            # Cut last: of no numbers, ndtri makes an array with a stride of 0, which no checkpoint can take.
            "thresholds": ndtri(np.cumsum(mixture.weights_).clip(1e-12, 1 - 1e-12))[:-1],
            "means": mixture.means_,
            "factors": np.linalg.cholesky(mixture.covariances_),
            "directions": pca.components_,
            "centre": pca.mean_.reshape(codings.shape[1:]),
            "low": rows.min(axis=0).reshape(codings.shape[1:]),
            "high": rows.max(axis=0).reshape(codings.shape[1:]),
        }
        for name, values in fitted.items():
            setattr(self, name, torch.from_numpy(values).to(self.means))

    def forward(self, noise: Tensor) -> Tensor:
        """Noise [N, noise_size] ~ N(0, 1) -> codings [N, *codings]."""
        components = (noise[:, :1] > self.thresholds).sum(dim=1)
        offsets = (self.factors[components] @ noise[:, 1:, None]).squeeze(2)
        codings = (self.means[components] + offsets) @ self.directions
        return (codings.reshape(-1, *self.codings_shape) + self.centre).clamp(self.low, self.high)


def _fit(rows: np.ndarray, seed: int) -> tuple[PCA, GaussianMixture]:
    num_dimensions = min(*rows.shape, _MAX_DIMENSIONS)
    solver = "covariance_eigh" if rows.shape[1] <= _MAX_EXACT_PCA else "randomized"
    pca = PCA(num_dimensions, svd_solver=solver, random_state=seed % 2**32)
    with np.errstate(invalid="ignore"):  # codings that are all alike have no ratio of variances
        reduced = pca.fit_transform(rows)
    mixture = GaussianMixture(
        int(np.clip(len(rows) // (_ROWS_PER_PARAMETER * num_dimensions), 1, _MAX_COMPONENTS)),
        max_iter=_NUM_ITERATIONS,
        reg_covar=max(_REGULARISATION * float(pca.explained_variance_.mean()), 1e-9),
        random_state=seed % 2**32,
    )
    return pca, mixture.fit(reduced)
