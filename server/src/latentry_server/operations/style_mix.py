"""StyleMix: the styles of two sources combined, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.generator import synthesize
from latentry_server.operations.images import from_float
from latentry_server.operations.sample import draw_seed
from latentry_server.operations.sources import Source, check_same_rows, check_source, check_style_labels, styles_of
from latentry_server.operations.styles import Layout, Truncation, mix
from latentry_server.spec import Capability


@dataclass(frozen=True, slots=True)
class Mixed:
    """Outputs, GRID: [R, C, *input], PAIRS: [R, *input]; and the seed of their noise maps."""

    outputs: NDArray[Any]
    noise_seed: int


async def style_mix(
    call: Call,
    rows: Source,
    columns: Source,
    *,
    layers: Sequence[int],
    layout: Layout,
    truncation: Truncation | None = None,
    noise_seed: int | None = None,
    row_labels: Sequence[int] = (),
    column_labels: Sequence[int] = (),
    output_dtype: DTypeLike,
) -> Mixed:
    """Take `layers` from `columns` and the others from `rows`.

    Every image has the same noise maps, row 0's of `noise_seed`, so that images differ by their styles alone.
    """
    call.require(Capability.STYLE_MIX)
    checks.output_dtype(output_dtype)
    check_source(call, rows)
    check_source(call, columns)
    if layout is Layout.PAIRS:
        check_same_rows(rows, columns)
    count = len(rows) * len(columns) if layout is Layout.GRID else len(rows)
    checks.row_count(call, count, "columns", row_bytes=call.output_bytes(output_dtype))
    checks.layers(call.spec, layers)
    checks.truncation(call.spec, truncation)
    check_style_labels(call, [rows], row_labels, "row_labels")
    check_style_labels(call, [columns], column_labels, "column_labels")
    noise_seed = draw_seed() if noise_seed is None else noise_seed
    row_styles = await styles_of(call, rows, row_labels)
    column_styles = await styles_of(call, columns, column_labels)
    mixed = mix(row_styles, column_styles, layers, layout)
    outputs = await synthesize(call, _flatten(mixed), truncation, noise_seed=noise_seed)
    return Mixed(from_float(outputs, output_dtype).reshape(*mixed.shape[:-2], *call.spec.input_shape), noise_seed)


def _flatten(mixed: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., L, W] to [N, L, W]."""
    return mixed.reshape(-1, *mixed.shape[-2:])
