import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latentry_client import hashing


@given(st.integers(1, 6), st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_codes_keep_every_bit_and_their_distances_count_those_that_differ(rows: int, num_bits: int, seed: int) -> None:
    codings = np.random.default_rng(seed).random((rows, num_bits), np.float32)
    codes = hashing.to_codes(codings)
    assert codes.shape == (rows, -(-num_bits // 8))
    np.testing.assert_array_equal(hashing.to_bits(codes, num_bits), codings > 0.5)
    distances = hashing.hamming_distances(codes[:, None], codes)
    expected = ((codings[:, None] > 0.5) != (codings > 0.5)).sum(axis=-1)
    np.testing.assert_array_equal(distances, expected)
    np.testing.assert_array_equal(hashing.hamming_distances(codes, codes[0]), expected[:, 0])


def test_the_first_bit_is_the_highest_of_the_first_byte() -> None:
    codings = [[1, 0, 0, 0, 0, 0, 0, 0, 0.75], [0, 0.5, 0, 0, 0, 0, 0, 0.51, 0]]
    assert hashing.to_codes(codings).tolist() == [[0b10000000, 0b10000000], [0b00000001, 0]]


@pytest.mark.parametrize(
    ("codings", "message"),
    [
        ([[0.2, 1.5]], r"expected values in \[0, 1\], got 0\.2 to 1\.5"),
        ([[-1.0, 0.5]], r"expected values in \[0, 1\], got -1 to 0\.5"),
        ([[np.nan, 0.5]], r"expected values in \[0, 1\], got nan to nan"),
        ([0.2, 0.5], r"expected \[N, K\], got \[2\]"),
        (np.zeros((2, 3, 3, 3)), r"expected \[N, K\], got \[2, 3, 3, 3\]"),
    ],
)
def test_codings_that_stand_for_no_bits_are_refused(codings: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hashing.to_codes(codings)


def test_codes_of_different_lengths_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected two of one length, got 1 and 2 bytes"):
        hashing.hamming_distances(np.zeros((3, 1), np.uint8), np.zeros(2, np.uint8))
