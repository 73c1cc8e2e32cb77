"""Where the rows of interpolate and style_mix come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from latentry.v1 import inference_service_pb2 as pb

from latentry_client import checks, tensors


@dataclass(frozen=True, slots=True, eq=False)
class FromInputs:
    """Rows that are encoded first: images or vectors, by the rules of `tensors`."""

    inputs: tensors.Inputs


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


Source: TypeAlias = FromInputs | FromCodings | FromSeeds | FromStyles


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
        source: where the rows come from.

    Raises:
        ValueError: it is no source, or its values have no rule.
    """
    match source:
        case FromInputs(inputs):
            return SourceRows("inputs", tensors.batch(inputs))
        case FromCodings(codings):
            return SourceRows("codings", tensors.floats(f"{name}.codings", codings))
        case FromSeeds(seeds):
            return SourceRows("seeds", np.array([checks.uint64(f"{name}.seeds", seed) for seed in seeds], np.uint64))
        case FromStyles(styles):
            return SourceRows("styles", tensors.floats(f"{name}.styles", styles))
    raise ValueError(f"{name}: expected FromInputs, FromCodings, FromSeeds or FromStyles, got {type(source).__name__}")
