"""Where the rows of interpolate and style_mix come from: inputs, which are encoded first, codings, seeds or styles.

The two sources of a call may be of different kinds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from latentry.v1 import inference_service_pb2 as pb

from latentry_client import checks, tensors


@dataclass(frozen=True, slots=True, eq=False)
class FromCodings:
    """Codings [N, *codings]."""

    codings: npt.ArrayLike


@dataclass(frozen=True, slots=True)
class FromSeeds:
    """One row a seed: row 0 of sample with that seed."""

    seeds: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class FromStyles:
    """Styles [N, W], the same for each layer, or [N, L, W]; not truncated."""

    styles: npt.ArrayLike


Source: TypeAlias = tensors.Inputs | FromCodings | FromSeeds | FromStyles


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """A source laid out in rows, ready to be sent in part or whole."""

    field: str
    """Which of the message's fields: inputs, codings, seeds or styles."""
    values: tensors.Array
    """Rows first."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on the wire."""
        return tensors.row_bytes(self.values)

    def message(self, rows: slice) -> pb.Source:
        """Put some of the rows into a message."""
        part = self.values[rows]
        if self.field == "seeds":
            return pb.Source(seeds=pb.Seeds(values=part.tolist()))
        tensor = tensors.to_tensor(part)
        match self.field:
            case "inputs":
                return pb.Source(inputs=tensor)
            case "codings":
                return pb.Source(codings=tensor)
            case _:
                return pb.Source(styles=tensor)


def rows_of(name: str, source: Source) -> SourceRows:
    """Lay a source out in rows.

    Args:
        name: the argument it came as, for the error.
        source: where the rows come from; what is none of the classes above is inputs, by the rules of `tensors`.

    Raises:
        ValueError: its values follow no rule.
    """
    match source:
        case FromCodings(codings):
            return SourceRows("codings", tensors.floats(f"{name}.codings", codings))
        case FromSeeds(seeds):
            return SourceRows("seeds", np.array([checks.uint64(f"{name}.seeds", seed) for seed in seeds], np.uint64))
        case FromStyles(styles):
            return SourceRows("styles", tensors.floats(f"{name}.styles", styles))
    try:
        return SourceRows("inputs", tensors.batch(source))
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error
