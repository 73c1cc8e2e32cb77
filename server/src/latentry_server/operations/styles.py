"""Pure: styles of a style-based generator, [N, L, W]: broadcast over layers, truncated, mixed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from latentry_server.spec import StyleSpec


@dataclass(frozen=True, slots=True)
class Truncation:
    """How far styles go from their mean: psi 1 changes nothing, 0 gives the mean.

    `cutoff`: the number of layers, from the coarsest, that are truncated; None: all.
    """

    psi: float
    cutoff: int | None = None


class Layout(Enum):
    """Which mixes are made: every row with every column, or row i with column i."""

    GRID = auto()
    PAIRS = auto()


def to_layers(styles: NDArray[np.float32], num_layers: int) -> NDArray[np.float32]:
    """Give every layer the same style: [N, W] to [N, L, W]; [N, L, W] stays as it is."""
    return styles if styles.ndim == 3 else np.repeat(styles[:, None], num_layers, axis=1)


def truncate(styles: NDArray[np.float32], style: StyleSpec, truncation: Truncation | None) -> NDArray[np.float32]:
    """Pull styles [N, L, W] towards their mean: w' = mean + psi (w - mean) (Karras et al. 2018, appendix B)."""
    if truncation is None:
        return styles
    truncated = styles.copy()
    coarse = slice(truncation.cutoff)
    with np.errstate(over="ignore"):  # psi beyond 1 takes values near float32's largest to infinity, as in the graphs
        truncated[:, coarse] = style.mean_style + np.float32(truncation.psi) * (styles[:, coarse] - style.mean_style)
    return truncated


def mix(
    rows: NDArray[np.float32], columns: NDArray[np.float32], layers: Sequence[int], layout: Layout
) -> NDArray[np.float32]:
    """Take `layers` from columns [C, L, W] and the others from rows [R, L, W].

    Returns:
        GRID: [R, C, L, W]; PAIRS: [R, L, W], R = C (Karras et al. 2018, section 3.1).
    """
    from_columns = np.zeros((rows.shape[1], 1), np.bool_)
    from_columns[list(layers)] = True
    if layout is Layout.GRID:
        return np.where(from_columns, columns[None], rows[:, None])
    return np.where(from_columns, columns, rows)
