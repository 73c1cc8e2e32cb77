"""Decode: codings to outputs."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike, NDArray

from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.generator import generate
from latentry_server.operations.images import from_float
from latentry_server.operations.styles import Truncation
from latentry_server.spec import Capability


async def decode(
    call: Call,
    codings: NDArray[Any],
    *,
    labels: Sequence[int] = (),
    truncation: Truncation | None = None,
    output_dtype: DTypeLike,
) -> NDArray[Any]:
    """Map codings [N, *codings] to outputs [N, *input].

    A style-based generator's noise maps are those of row 0 of seed 0 for every row, so that a row's outputs depend on
    its codings alone.
    """
    call.require(Capability.DECODE)
    checks.output_dtype(output_dtype)
    checks.codings(call, codings, "codings", row_bytes=call.output_bytes(output_dtype))
    checks.labels(call.spec, labels, len(codings), "labels")
    checks.truncation(call.spec, truncation)
    return from_float(await generate(call, codings, labels, truncation), output_dtype)
