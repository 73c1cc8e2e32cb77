"""Checks of plain arguments that a message could not hold as they are; all else is the server's to check."""

from collections.abc import Mapping, Sequence
from typing import SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


def int32(name: str, value: SupportsIndex, *, minimum: int = -(2**31)) -> int:
    """Check a signed 32-bit integer."""
    return _integer(name, value, minimum, 2**31 - 1)


def int64(name: str, value: SupportsIndex) -> int:
    """Check a signed 64-bit integer."""
    return _integer(name, value, -(2**63), 2**63 - 1)


def uint64(name: str, value: SupportsIndex) -> int:
    """Check a seed: an unsigned 64-bit integer."""
    return _integer(name, value, 0, 2**64 - 1)


def timeout_s(value: float | None) -> None:
    """Check a number of seconds; None is left to others to choose."""
    if value is not None and not value > 0:  # nan too
        raise ValueError(f"timeout_s: expected more than 0, got {value}")


def choice(name: str, value: str, choices: Mapping[str, T]) -> T:
    """Look a word up."""
    if value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, choices))}, got {value!r}")
    return choices[value]


def labels(name: str, values: Sequence[int] | npt.NDArray[np.integer] | None, rows: int) -> list[int]:
    """Check labels, one a row; none is an empty list."""
    if values is None:
        return []
    if len(values) != rows:
        raise ValueError(f"{name}: expected {rows}, one a row, got {len(values)}")
    return [int64(name, value) for value in values]


def _integer(name: str, value: SupportsIndex, minimum: int, maximum: int) -> int:
    try:
        number = value.__index__()
    except AttributeError:
        raise ValueError(f"{name}: expected a whole number, got {value!r}") from None
    if not minimum <= number <= maximum:
        raise ValueError(f"{name}: expected {minimum} to {maximum}, got {number}")
    return number
