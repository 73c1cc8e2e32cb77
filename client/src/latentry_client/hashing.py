"""Semantic hashing (Salakhutdinov and Hinton, 2009): codings near 0 or 1 as bits, and how many bits differ. Pure.

Inputs that are alike get codes that differ in few bits, so that a search compares bytes and not images.
"""

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint8]

_THRESHOLD = 0.5


def to_codes(codings: npt.ArrayLike) -> Codes:
    """Round codings to bits and pack them.

    Args:
        codings: [N, K] in [0, 1].

    Returns:
        [N, ceil(K / 8)], uint8: bit k is 1 where coding k is above 0.5. Eight bits a byte, the first of them the
        highest; what is left of the last byte is 0.

    Raises:
        ValueError: the codings have another shape, or are not in [0, 1].
    """
    array = np.asarray(codings)
    if array.ndim != 2:
        raise ValueError(f"codings: expected [N, K], got {list(array.shape)}")
    if not ((array >= 0) & (array <= 1)).all():  # nan too
        raise ValueError(f"codings: expected values in [0, 1], got {array.min():g} to {array.max():g}")
    return np.packbits(array > _THRESHOLD, axis=1)


def to_bits(codes: Codes, num_bits: int) -> npt.NDArray[np.bool_]:
    """Unpack codes [..., ceil(K / 8)] into their bits [..., K]; `num_bits` is K."""
    return np.unpackbits(codes, axis=-1, count=num_bits).astype(np.bool_)


def hamming_distances(codes: Codes, others: Codes) -> npt.NDArray[np.int64]:
    """Count the bits in which codes differ.

    Args:
        codes: [..., B], B = ceil(K / 8).
        others: [..., B]; the axes before the last are broadcast: a single code [B] is compared with all of [N, B].

    Returns:
        [...]: 0 to K.

    Raises:
        ValueError: the codes are of different lengths.
    """
    if codes.shape[-1] != others.shape[-1]:
        raise ValueError(f"codes: expected two of one length, got {codes.shape[-1]} and {others.shape[-1]} bytes")
    distances: npt.NDArray[np.int64] = np.bitwise_count(codes ^ others).sum(axis=-1, dtype=np.int64)
    return distances
