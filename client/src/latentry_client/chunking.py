"""How large requests are split into chunks of rows, and their results joined. Pure.

The first chunk goes first, alone: it says which version runs and which seed was drawn, and the others are held to both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, cast

import numpy as np
from google.protobuf.message import Message

from latentry_client.request import Request
from latentry_client.results import RunInfo

R = TypeVar("R")

MAX_CHUNKS_IN_FLIGHT = 4

_SEED_FIELDS = {"seed", "noise_seed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkLimits:
    """The most that one call carries."""

    max_rows: int = 256
    max_bytes: int = 4 * 1024**2
    """Of arrays on the way to the server."""

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


def plan(request: Request[Any], limits: ChunkLimits) -> list[slice]:
    """Say which rows go into which call: at least one call, and at least one row each where there are any."""
    step = rows_per_call(request, limits)
    starts = range(0, max(1, request.rows), step)
    return [slice(start, min(start + step, request.rows)) for start in starts]


def rows_per_call(request: Request[Any], limits: ChunkLimits) -> int:
    """Say how many rows like a request's one call carries, at least one."""
    by_rows = limits.max_rows // request.row_cost
    by_bytes = limits.max_bytes // max(1, request.row_bytes)
    return max(1, min(by_rows, by_bytes))


def build_later(request: Request[Any], rows: slice, first_response: Message) -> Message:
    """Make the message of a later chunk, held to the version and the seed of the first one's response."""
    message: Any = request.build(rows)
    first: Any = first_response
    message.version = first.run.version
    for field in _SEED_FIELDS.intersection(message.DESCRIPTOR.fields_by_name):
        setattr(message, field, getattr(first, field))
    return cast("Message", message)


def join(parts: Sequence[R]) -> R:
    """Join the results of a request's chunks, in order: arrays end to end, times summed."""
    first = parts[0]
    if len(parts) == 1:
        return first
    joined: dict[str, Any] = {}
    for field in fields(first):  # type: ignore[arg-type]  # results are dataclasses
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            joined[field.name] = np.concatenate(values)
        elif isinstance(values[0], RunInfo):
            joined[field.name] = replace(
                values[0],
                queue_us=sum(run.queue_us for run in values),
                compute_us=sum(run.compute_us for run in values),
            )
    return replace(first, **joined)  # type: ignore[type-var]
