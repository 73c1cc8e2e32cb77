"""From codings to outputs, by a decoder or by a style-based generator's mapping and synthesis."""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentry_server.operations import noise
from latentry_server.operations.call import Call
from latentry_server.operations.styles import Truncation, to_layers, truncate
from latentry_server.spec import GraphRole

# Where a request has no seed of its own for noise maps, as Decode, the answer must still depend on the request alone.
DEFAULT_NOISE_SEED = 0
# Drawing so many rows takes less than the way to a thread and back.
_FEW_ROWS = 16


def _prior_noise(call: Call, seed: int, rows: range) -> NDArray[np.float32]:
    """Draw what some rows of a seed are made of: the prior graph's noise, or codings ~ N(0, I) without such a graph."""
    graph = call.spec.graphs.get(GraphRole.PRIOR)
    row_shape = call.spec.codings_shape if graph is None else graph.inputs[0].shape[1:]
    return noise.normals(seed, noise.CODINGS, rows, row_shape)


async def draw_codings(call: Call, parts: Sequence[tuple[int, range]]) -> NDArray[np.float32]:
    """Draw codings [N, *codings] of each seed's rows, end to end; the noise of many rows beside the event loop."""

    def draw() -> NDArray[np.float32]:
        return np.concatenate([_prior_noise(call, seed, rows) for seed, rows in parts])

    has_few_rows = sum(len(rows) for _, rows in parts) <= _FEW_ROWS
    drawn = draw() if has_few_rows else await asyncio.to_thread(draw)
    if GraphRole.PRIOR not in call.spec.graphs:
        return drawn
    return (await call.run(GraphRole.PRIOR, {"noise": drawn}))["codings"]


async def generate(
    call: Call,
    codings: NDArray[np.float32],
    labels: Sequence[int],
    truncation: Truncation | None,
    *,
    noise_seed: int = DEFAULT_NOISE_SEED,
    noise_rows: range | None = None,
) -> NDArray[np.float32]:
    """Map codings [N, *codings] to outputs [N, *input].

    Args:
        call: the request's call.
        codings: checked codings.
        labels: one a row for conditional models, else empty.
        truncation: for style-based generators.
        noise_seed: seed of a style-based generator's noise maps.
        noise_rows: the rows of that seed whose maps are used; None: row 0's for all.
    """
    if call.spec.style is None:
        inputs = {"codings": codings} | labels_input(labels)
        return (await call.run(GraphRole.DECODER, inputs))["outputs"]
    styles = await to_styles(call, codings, labels)
    return await synthesize(call, styles, truncation, noise_seed=noise_seed, noise_rows=noise_rows)


async def to_styles(call: Call, codings: NDArray[np.float32], labels: Sequence[int]) -> NDArray[np.float32]:
    """Map codings [N, Z] to styles [N, L, W]."""
    assert call.spec.style is not None
    outputs = await call.run(GraphRole.MAPPING, {"codings": codings} | labels_input(labels))
    return to_layers(outputs["styles"], call.spec.style.num_layers)


def labels_input(labels: Sequence[int]) -> dict[str, NDArray[np.int64]]:
    """Make what a graph takes of labels, one a row; no labels, where it takes none."""
    return {"labels": np.array(labels, np.int64)} if len(labels) else {}


async def synthesize(
    call: Call,
    styles: NDArray[np.float32],
    truncation: Truncation | None,
    *,
    noise_seed: int = DEFAULT_NOISE_SEED,
    noise_rows: range | None = None,
) -> NDArray[np.float32]:
    """Map styles [N, L, W], not yet truncated, to outputs [N, *input]."""
    assert call.spec.style is not None
    # Noise maps are as many values as the image has at every layer: drawn beside the event loop.
    noise_maps = await asyncio.to_thread(_noise_maps, call, len(styles), noise_seed, noise_rows)
    inputs = {"styles": truncate(styles, call.spec.style, truncation)} | noise_maps
    return (await call.run(GraphRole.SYNTHESIS, inputs))["outputs"]


def _noise_maps(call: Call, count: int, seed: int, rows: range | None) -> dict[str, NDArray[np.float32]]:
    specs = [spec for spec in call.spec.graphs[GraphRole.SYNTHESIS].inputs if spec.name.startswith("noise_")]
    maps = {}
    for spec in specs:
        purpose = noise.FIRST_NOISE_MAP + int(spec.name.removeprefix("noise_"))
        drawn = noise.normals(seed, purpose, rows or range(1), spec.shape[1:])
        maps[spec.name] = drawn if rows else np.repeat(drawn, count, axis=0)
    return maps
