"""The book's toy for PCA: points in space near a plane, made and not read."""

import numpy as np

from latentry_trainer.data.dataset import Dataset, with_own_splits

_NUM_POINTS = 1_000
_NOISE = 0.1
_SLOPES = (0.1, 0.3)  # of the plane, along x and y
_SEED = 4


def load() -> Dataset:
    """1 000 vectors (x, y, z) in [0, 1], split by `with_own_splits`.

    x = cos a + ½ sin a + noise, y = 0.7 sin a + noise, z = 0.1 x + 0.3 y + noise; a is uniform in [-0.5, 1.5 π - 0.5].
    One shift and one factor bring all three into [0, 1], so that angles and the principal plane stay as they are.
    """
    generator = np.random.default_rng(_SEED)
    angles = generator.random(_NUM_POINTS) * 1.5 * np.pi - 0.5
    noise = generator.normal(scale=_NOISE, size=(3, _NUM_POINTS)) * np.array([[0.5], [0.5], [1.0]])
    x = np.cos(angles) + np.sin(angles) / 2 + noise[0]
    y = 0.7 * np.sin(angles) + noise[1]
    z = _SLOPES[0] * x + _SLOPES[1] * y + noise[2]
    points = np.stack((x, y, z), axis=1)
    scaled = (points - points.min()) / np.ptp(points)
    return with_own_splits("toy-3d", scaled.astype(np.float32), None)
