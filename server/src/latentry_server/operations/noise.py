"""Seeded random numbers: row i is a function of (seed, i, purpose) alone, whatever is drawn with it.

Counter-based: Philox-4x64 (Salmon et al. 2011) with (seed, purpose) as its key; a row owns a fixed range of the
counter. Uniforms become normals by Box and Muller's transform (1958), which takes a fixed number of words where
rejection methods do not. The words are the same everywhere; log, cos and sin may differ in the last float64 bit between
machines.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS_PER_BLOCK = 4  # one step of Philox's counter makes four 64-bit words

CODINGS = 0
LABELS = 1
FIRST_NOISE_MAP = 2  # purpose of noise map k is FIRST_NOISE_MAP + k


def normals(seed: int, purpose: int, rows: range, row_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw rows of independent N(0, 1) values.

    Args:
        seed: 0 to 2^64 - 1.
        purpose: what the values are for: streams of different purposes are independent.
        rows: the rows' indices, step 1.
        row_shape: shape of one row.

    Returns:
        [len(rows), *row_shape], float32.
    """
    size = int(np.prod(row_shape, dtype=np.int64))
    blocks = -(-size // WORDS_PER_BLOCK)
    # Contiguous halves, so that numpy takes the same path through its loops however many rows there are.
    halves = _uniforms(seed, purpose, rows, blocks).reshape(len(rows), 2, -1)
    radius = np.sqrt(-2 * np.log(np.ascontiguousarray(halves[:, 0])))
    angle = 2 * np.pi * np.ascontiguousarray(halves[:, 1])
    values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return values[:, :size].astype(np.float32).reshape(len(rows), *row_shape)


def labels(seed: int, rows: range, num_labels: int) -> NDArray[np.int64]:
    """Draw one label a row, uniformly from 0 to num_labels - 1: [len(rows)], int64."""
    return (_uniforms(seed, LABELS, rows, 1)[:, 0] * num_labels).astype(np.int64)


def _uniforms(seed: int, purpose: int, rows: range, blocks_per_row: int) -> NDArray[np.float64]:
    """Draw [len(rows), blocks_per_row * 4] values in (0, 1), both ends excluded."""
    assert rows.step == 1
    generator = np.random.Philox(key=np.array([seed, purpose], np.uint64))
    generator.advance(rows.start * blocks_per_row)
    words: NDArray[Any] = generator.random_raw(len(rows) * blocks_per_row * WORDS_PER_BLOCK)
    # 52 bits and a half step: the largest value that fits float64 below 1, and no zero for the logarithm.
    uniforms: NDArray[np.float64] = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return uniforms.reshape(len(rows), -1)
