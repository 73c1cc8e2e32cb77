"""scikit-learn's own digits: 1 797 images of 1 x 8 x 8, there without a download."""

import numpy as np
from sklearn.datasets import load_digits

from latentry_trainer.data.dataset import Dataset, with_own_splits

_MAX_VALUE = 16


def load() -> Dataset:
    """The digits, split by `with_own_splits`."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / _MAX_VALUE)).astype(np.uint8)[:, np.newaxis]
    return with_own_splits("digits", images, digits.target, tuple(str(digit) for digit in range(10)))
