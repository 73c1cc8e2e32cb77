"""Pure: the points on the way between two batches of codings or styles."""

from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

# Below this sine of the angle, two directions are parallel as far as float32 values can say.
_PARALLEL_SINE = 1e-7


class Mode(Enum):
    """How the points lie."""

    LINEAR = auto()
    SPHERICAL = auto()


def points(start: NDArray[np.float32], end: NDArray[np.float32], steps: int, mode: Mode) -> NDArray[np.float32]:
    """Lay `steps` points, both ends included, from each row of start [N, ...] to that of end: [N, steps, ...]."""
    rows = (len(start), -1)
    way = _linear if mode is Mode.LINEAR else _spherical
    t = np.linspace(0, 1, steps)[:, None]
    between = way(start.reshape(rows).astype(np.float64), end.reshape(rows).astype(np.float64), t)
    with np.errstate(over="ignore"):  # a norm near float32's largest can end beyond it: infinite, as in the graphs
        narrowed = between.astype(np.float32)
    result = narrowed.reshape(len(start), steps, *start.shape[1:])
    result[:, 0], result[:, -1] = start, end  # exactly, whatever rounding does
    return result


def _linear(start: NDArray[np.float64], end: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay points on the straight line: [N, D], [N, D], [steps, 1] to [N, steps, D]."""
    return (1 - t) * start[:, None] + t * end[:, None]


def _spherical(start: NDArray[np.float64], end: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay points on the great circle, the norm changing linearly (Shoemake 1985; White 2016).

    In the plane of both rows: cos(t ω) u + sin(t ω) v, where u is start's direction, v the direction at right angles to
    it on end's side and ω the angle. Unlike the quotient of sines, this needs no case for small angles.
    """
    start_norm, end_norm = _norm(start), _norm(end)
    start_direction = start / np.where(start_norm, start_norm, 1)
    end_direction = end / np.where(end_norm, end_norm, 1)
    start_direction = np.where(start_norm, start_direction, end_direction)  # a zero row has the other's direction
    end_direction = np.where(end_norm, end_direction, start_direction)
    cosine = np.sum(start_direction * end_direction, axis=1, keepdims=True)
    across = end_direction - cosine * start_direction
    sine = _norm(across)
    angle = np.arctan2(sine, cosine)
    parallel = sine < _PARALLEL_SINE
    across = np.where(parallel, _any_across(start_direction), across / np.where(parallel, 1, sine))
    turned = np.cos(t * angle[:, None]) * start_direction[:, None] + np.sin(t * angle[:, None]) * across[:, None]
    result: NDArray[np.float64] = turned * _linear(start_norm, end_norm, t)
    return result


def _any_across(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choose a direction at right angles, for opposite rows, which have no great circle of their own."""
    axis = np.zeros_like(direction)
    np.put_along_axis(axis, np.argmin(np.abs(direction), axis=1)[:, None], 1, axis=1)
    across = axis - np.sum(axis * direction, axis=1, keepdims=True) * direction
    norm = _norm(across)
    result: NDArray[np.float64] = across / np.where(norm, norm, 1)
    return result


def _norm(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return norms
