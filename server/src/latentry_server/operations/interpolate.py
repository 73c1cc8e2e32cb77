"""Interpolate: the way between two rows, decoded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.generator import generate, synthesize
from latentry_server.operations.images import from_float
from latentry_server.operations.interpolation import Mode, points
from latentry_server.operations.sources import (
    Source,
    SourceKind,
    check_same_rows,
    check_source,
    check_style_labels,
    codings_of,
    styles_of,
)
from latentry_server.operations.styles import Truncation
from latentry_server.spec import Capability, GraphRole

_MIN_STEPS = 2


async def interpolate(
    call: Call,
    start: Source,
    end: Source,
    *,
    steps: int,
    mode: Mode | None = None,
    labels: Sequence[int] = (),
    truncation: Truncation | None = None,
    output_dtype: DTypeLike,
) -> NDArray[Any]:
    """Decode `steps` points on the way from each row of `start` to that of `end`: [N, steps, *input].

    LINEAR is the default for models with a denoiser and, of style-based generators, where a source is inputs or styles;
    SPHERICAL for others, whose codings are N(0, I). A style-based generator's way leads through its styles where it is
    linear, through its codings where it is spherical, and has the same noise maps, row 0's of seed 0, at every point.
    """
    call.require(Capability.INTERPOLATE)
    checks.output_dtype(output_dtype)
    check_source(call, start)
    check_source(call, end)
    check_same_rows(start, end)
    if steps < _MIN_STEPS:
        raise InvalidInputError("steps", expected=f"at least {_MIN_STEPS}", got=str(steps))
    checks.row_count(call, len(start) * steps, "steps", row_bytes=call.output_bytes(output_dtype))
    mode = _mode(call, start, end, mode)
    through_styles = call.spec.style is not None and mode is Mode.LINEAR
    if through_styles:
        check_style_labels(call, [start, end], labels, "labels")
    else:
        checks.labels(call.spec, labels, len(start), "labels")
    checks.truncation(call.spec, truncation)
    if through_styles:
        ways = points(await styles_of(call, start, labels), await styles_of(call, end, labels), steps, mode)
        outputs = await synthesize(call, _flatten(ways), truncation)
    else:
        ways = points(await codings_of(call, start), await codings_of(call, end), steps, mode)
        every_label = np.repeat(labels, steps).tolist() if labels else ()
        outputs = await generate(call, _flatten(ways), every_label, truncation)
    return from_float(outputs, output_dtype).reshape(len(start), steps, *call.spec.input_shape)


def _mode(call: Call, start: Source, end: Source, mode: Mode | None) -> Mode:
    kinds = {start.kind, end.kind}
    if mode is Mode.SPHERICAL and SourceKind.STYLES in kinds:
        raise InvalidInputError("mode", expected="LINEAR, where a source is styles", got="SPHERICAL")
    if mode is None:
        meets_in_styles = call.spec.style is not None and bool(kinds & {SourceKind.INPUTS, SourceKind.STYLES})
        return Mode.LINEAR if meets_in_styles or GraphRole.DENOISER in call.spec.graphs else Mode.SPHERICAL
    return mode


def _flatten(ways: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, steps, ...] to [N * steps, ...]."""
    return ways.reshape(-1, *ways.shape[2:])
