"""Pure: rows of several entries into one batch and back, large requests into chunks, sizes into buckets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RowType = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]


def num_rows(tensors: Mapping[str, NDArray[Any]]) -> int:
    """Count the rows of tensors [N, ...].

    Raises:
        ValueError: the tensors do not all have the same number of rows, at least 1.
    """
    counts = {len(array) for array in tensors.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"tensors: expected the same number of rows in each, at least 1, got {sorted(counts)}")
    return counts.pop()


def num_bytes(tensors: Mapping[str, NDArray[Any]]) -> int:
    """Count the bytes of all tensors."""
    return sum(array.nbytes for array in tensors.values())


def row_type(tensors: Mapping[str, NDArray[Any]]) -> RowType:
    """Name, type and shape of one row of every tensor: entries can be merged where it is the same."""
    return tuple((name, tensors[name].dtype, tensors[name].shape[1:]) for name in sorted(tensors))


def chunks(rows: int, max_rows: int) -> list[slice]:
    """Cut `rows` rows into as few chunks as `max_rows` allows, all but the last one full."""
    return [slice(first, min(first + max_rows, rows)) for first in range(0, rows, max_rows)]


def take_rows(tensors: Mapping[str, NDArray[Any]], rows: slice) -> dict[str, NDArray[Any]]:
    """Take some rows of every tensor, as views."""
    return {name: array[rows] for name, array in tensors.items()}


def merge(parts: Sequence[Mapping[str, NDArray[Any]]], *, padding_rows: int = 0) -> Mapping[str, NDArray[Any]]:
    """Concatenate the rows of parts of the same row type; copies of the last row are the padding."""
    if len(parts) == 1 and not padding_rows:
        return parts[0]
    merged = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        if padding_rows:
            arrays.append(np.repeat(arrays[-1][-1:], padding_rows, axis=0))
        merged[name] = np.concatenate(arrays)
    return merged


def split(tensors: Mapping[str, NDArray[Any]], row_counts: Sequence[int]) -> list[Mapping[str, NDArray[Any]]]:
    """Undo `merge`: views of the rows of each part; padding is left over."""
    if len(row_counts) == 1 and row_counts[0] == num_rows(tensors):
        return [tensors]
    parts: list[Mapping[str, NDArray[Any]]] = []
    first = 0
    for count in row_counts:
        parts.append(take_rows(tensors, slice(first, first + count)))
        first += count
    return parts


def bucket_sizes(max_rows: int) -> tuple[int, ...]:
    """List the batch sizes that runs are padded to on CUDA: the powers of two below `max_rows`, and it."""
    powers = (2**exponent for exponent in range(max_rows.bit_length()))
    return (*(power for power in powers if power < max_rows), max_rows)


def padding_rows(rows: int, buckets: Sequence[int]) -> int:
    """Count the rows that are missing to the next bucket; none without buckets."""
    return next((bucket - rows for bucket in buckets if bucket >= rows), 0)
