"""Sample: new outputs from a seed."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.operations import checks, noise
from latentry_server.operations.call import Call
from latentry_server.operations.generator import draw_codings, generate
from latentry_server.operations.images import from_float
from latentry_server.operations.styles import Truncation
from latentry_server.spec import Capability

_LABEL_BYTES = 10  # a varint's at most


@dataclass(frozen=True, slots=True)
class Sampled:
    """Outputs [count, *input], and the seed, codings [count, *codings] and labels that they were made of."""

    outputs: NDArray[Any]
    seed: int
    codings: NDArray[np.float32]
    labels: Sequence[int]


def draw_seed() -> int:
    """Draw a seed for a request that has none."""
    return secrets.randbits(64)


async def sample(
    call: Call,
    count: int,
    *,
    seed: int | None = None,
    first_row: int = 0,
    labels: Sequence[int] = (),
    truncation: Truncation | None = None,
    output_dtype: DTypeLike,
) -> Sampled:
    """Draw rows first_row to first_row + count - 1 of a seed.

    Row i is a function of the model version, the seed and i, and of its label and truncation where given: its codings,
    its label where labels are not given and a style-based generator's noise maps are all drawn from (seed, i).
    """
    call.require(Capability.SAMPLE)
    checks.output_dtype(output_dtype)
    row_bytes = call.output_bytes(output_dtype) + call.codings_bytes() + _LABEL_BYTES
    checks.row_count(call, count, "count", row_bytes=row_bytes)
    if first_row < 0:
        raise InvalidInputError("first_row", expected="at least 0", got=str(first_row))
    checks.truncation(call.spec, truncation)
    seed = draw_seed() if seed is None else seed
    rows = range(first_row, first_row + count)
    if call.spec.is_conditional and not labels:
        labels = noise.labels(seed, rows, len(call.spec.label_names)).tolist()
    checks.labels(call.spec, labels, count, "labels")
    codings = await draw_codings(call, [(seed, rows)])
    outputs = await generate(call, codings, labels, truncation, noise_seed=seed, noise_rows=rows)
    return Sampled(from_float(outputs, output_dtype), seed, codings, labels)
