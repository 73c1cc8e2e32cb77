import math
from statistics import NormalDist

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from latentry_server.operations import noise

SEEDS = st.integers(0, 2**64 - 1)


@given(
    seed=SEEDS,
    first=st.integers(0, 2**63 - 1000),
    chunks=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    row_shape=st.sampled_from([(1,), (3,), (4,), (5,), (30,), (1, 4, 4)]),
)
def test_rows_are_the_same_bits_whatever_the_chunks(
    seed: int, first: int, chunks: list[int], row_shape: tuple[int, ...]
) -> None:
    rows = range(first, first + sum(chunks))
    whole = noise.normals(seed, noise.CODINGS, rows, row_shape)
    parts, start = [], first
    for count in chunks:
        parts.append(noise.normals(seed, noise.CODINGS, range(start, start + count), row_shape))
        start += count
    assert whole.shape == (len(rows), *row_shape)
    assert whole.tobytes() == np.concatenate(parts).tobytes()


@given(seed=SEEDS, first=st.integers(0, 2**40), chunks=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_labels_are_the_same_whatever_the_chunks(seed: int, first: int, chunks: list[int]) -> None:
    whole = noise.labels(seed, range(first, first + sum(chunks)), 10)
    parts, start = [], first
    for count in chunks:
        parts.append(noise.labels(seed, range(start, start + count), 10))
        start += count
    assert whole.tolist() == np.concatenate(parts).tolist()
    assert 0 <= whole.min() <= whole.max() < 10


def test_a_row_is_what_its_words_give_by_the_formula() -> None:
    seed, row, size = 2**64 - 1, 12345, 6  # two blocks: eight words
    generator = np.random.Philox(key=np.array([seed, noise.CODINGS], np.uint64), counter=row * 2)
    uniforms = [((int(word) >> 12) + 0.5) / 2**52 for word in generator.random_raw(8)]
    pairs = list(zip(uniforms[:4], uniforms[4:], strict=True))
    cosines = [math.sqrt(-2 * math.log(a)) * math.cos(2 * math.pi * b) for a, b in pairs]
    sines = [math.sqrt(-2 * math.log(a)) * math.sin(2 * math.pi * b) for a, b in pairs]
    drawn = noise.normals(seed, noise.CODINGS, range(row, row + 1), (size,))
    np.testing.assert_allclose(drawn[0], (cosines + sines)[:size], rtol=1e-6)


def test_values_are_standard_normal() -> None:
    values = np.sort(noise.normals(7, noise.CODINGS, range(20_000), (5,)).ravel().astype(np.float64))
    count = len(values)
    assert abs(values.mean()) < 4 / math.sqrt(count)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / count)
    # Kolmogorov and Smirnov's distance; 1.95 is exceeded once in a thousand.
    cdf = np.array([NormalDist().cdf(value) for value in values])
    distance = np.abs(cdf - (np.arange(count) + 0.5) / count).max()
    assert distance * math.sqrt(count) < 1.95


def test_values_are_independent_within_and_between_rows() -> None:
    values = noise.normals(11, noise.CODINGS, range(20_000), (6,)).astype(np.float64)
    limit = 5 / math.sqrt(len(values))
    within = np.corrcoef(values.T) - np.eye(6)
    assert np.abs(within).max() < limit
    between = np.corrcoef(values[:-1].T, values[1:].T)[:6, 6:]
    assert np.abs(between).max() < limit


def test_seeds_and_purposes_are_different_streams() -> None:
    rows = range(1000)
    drawn = [noise.normals(seed, purpose, rows, (4,)).ravel() for seed in (0, 1, 2**63) for purpose in (0, 2, 3)]
    correlations = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 5 / math.sqrt(4000)


def test_labels_are_uniform() -> None:
    counts = np.bincount(noise.labels(3, range(30_000), 10), minlength=10)
    chi_squared = float(np.sum((counts - 3000) ** 2 / 3000))
    assert chi_squared < 27.9  # 9 degrees of freedom, once in a thousand
