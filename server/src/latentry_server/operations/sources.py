"""Where the rows of Interpolate and StyleMix come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.generator import draw_codings, to_styles
from latentry_server.operations.images import to_float
from latentry_server.operations.styles import to_layers
from latentry_server.spec import Capability, GraphRole


class SourceKind(StrEnum):
    """What a source's values are."""

    INPUTS = "inputs"
    CODINGS = "codings"
    SEEDS = "seeds"
    STYLES = "styles"


@dataclass(frozen=True, slots=True)
class Source:
    """N rows: inputs [N, *input], codings [N, *codings], seeds [N] (uint64) or styles [N, W] or [N, L, W].

    `field` is the source's place in the request, for errors: start, end, rows or columns.
    """

    field: str
    kind: SourceKind
    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def path(self) -> str:
        """The path of the values in the request."""
        return f"{self.field}.{self.kind}"


def gives_styles(call: Call, source: Source) -> bool:
    """Tell whether a source has styles of its own, so that neither the mapping nor its labels are needed."""
    return source.kind is SourceKind.STYLES or (source.kind is SourceKind.INPUTS and call.spec.encodes_styles)


def check_source(call: Call, source: Source) -> None:
    """Check a source's values, and that the model can make codings or styles of them."""
    match source.kind:
        case SourceKind.INPUTS:
            call.require(Capability.ENCODE)
            checks.images(call, source.values, source.path, row_bytes=call.codings_bytes())
        case SourceKind.CODINGS:
            checks.codings(call, source.values, source.path, row_bytes=call.codings_bytes())
        case SourceKind.SEEDS:
            call.require(Capability.SAMPLE)
            checks.row_count(call, len(source), f"{source.path}.values", row_bytes=call.codings_bytes())
        case SourceKind.STYLES:
            call.require(Capability.STYLE_MIX)
            checks.styles(call, source.values, source.path, row_bytes=call.codings_bytes())


async def codings_of(call: Call, source: Source) -> NDArray[np.float32]:
    """Make codings [N, *codings] of a checked source that has no styles."""
    match source.kind:
        case SourceKind.INPUTS:
            return (await _encode(call, source))["codings"]
        case SourceKind.CODINGS:
            return source.values
        case SourceKind.SEEDS:
            return await draw_codings(call, [(int(seed), range(1)) for seed in source.values])
        case SourceKind.STYLES:
            raise AssertionError("styles have no codings")


async def styles_of(call: Call, source: Source, labels: Sequence[int]) -> NDArray[np.float32]:
    """Make styles [N, L, W] of a checked source; `labels` as `generate` takes them, unused where it gives styles."""
    assert call.spec.style is not None
    if gives_styles(call, source):
        styles = source.values if source.kind is SourceKind.STYLES else (await _encode(call, source))["styles"]
        return to_layers(styles, call.spec.style.num_layers)
    return await to_styles(call, await codings_of(call, source), labels)


def check_style_labels(call: Call, sources: Sequence[Source], labels: Sequence[int], field: str) -> None:
    """Check the labels that make styles of sources of as many rows; none where all sources give styles."""
    if all(gives_styles(call, source) for source in sources):
        checks.no_labels(labels, field, reason="styles are past the layers that take them")
    else:
        checks.labels(call.spec, labels, len(sources[0]), field)


def check_same_rows(first: Source, second: Source) -> None:
    """Check that two sources have the same number of rows."""
    if len(first) != len(second):
        raise InvalidInputError(second.path, expected=f"{len(first)} rows, as {first.path}", got=f"{len(second)} rows")


async def _encode(call: Call, source: Source) -> Mapping[str, NDArray[Any]]:
    return await call.run(GraphRole.ENCODER, {"inputs": to_float(source.values)})
