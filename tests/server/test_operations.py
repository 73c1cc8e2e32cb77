"""What the operations do that no caller of the API sees from outside; test_service.py has the rest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latentry_server.batching.queue import Ran
from latentry_server.errors import InvalidInputError
from latentry_server.operations.call import Call, Limits
from latentry_server.operations.images import from_float, to_float
from latentry_server.operations.interpolate import interpolate
from latentry_server.operations.sources import Source, SourceKind
from latentry_server.repository.loaded_model import LoadedModel
from latentry_server.spec import GraphRole, ModelSpec
from numpy.typing import NDArray

from tests.server.repositories import open_repository


class Recorded:
    """A loaded model that remembers which graphs ran, on how many rows, for whom, and with which deadline."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.runs: list[tuple[GraphRole, int]] = []
        self.callers: set[tuple[str, float | None]] = set()
        self.ran: list[Ran] = []

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    async def run(
        self,
        role: GraphRole,
        inputs: Mapping[str, NDArray[Any]],
        *,
        client: str = "",
        deadline_s: float | None = None,
    ) -> Ran:
        self.runs.append((role, len(next(iter(inputs.values())))))
        self.callers.add((client, deadline_s))
        self.ran.append(await self._model.run(role, inputs, client=client, deadline_s=deadline_s))
        return self.ran[-1]


async def test_many_seeds_run_each_graph_once_under_one_deadline(repository: Path) -> None:
    async with open_repository(repository) as models:
        with models.lease("stacked") as model:
            recorded = Recorded(model)
            deadline_s = 1e9
            call = Call(
                model=recorded,
                limits=Limits(max_request_rows=100, max_message_bytes=2**20),
                client="caller",
                deadline_s=deadline_s,
            )
            start, end = (
                Source(field, SourceKind.SEEDS, np.arange(first, first + 20, dtype=np.uint64))
                for field, first in (("start", 0), ("end", 20))
            )
            await interpolate(call, start, end, steps=5, output_dtype=np.float32)
    assert recorded.runs == [(GraphRole.PRIOR, 20), (GraphRole.PRIOR, 20), (GraphRole.DECODER, 100)]
    assert recorded.callers == {("caller", deadline_s)}
    assert call.queue_s == pytest.approx(sum(ran.queue_s for ran in recorded.ran))
    assert call.compute_s == pytest.approx(sum(ran.compute_s for ran in recorded.ran))


def test_every_level_survives_the_way_to_float_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    floats = to_float(levels)
    np.testing.assert_array_equal(floats, (np.arange(256) / 255).astype(np.float32).reshape(1, 16, 16))
    np.testing.assert_array_equal(from_float(floats, np.uint8), levels)


def test_floats_go_to_the_nearest_level_and_stay_in_range() -> None:
    floats = np.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.0, 7.0], np.float32)
    assert from_float(floats, np.uint8).tolist() == [0, 0, 0, 1, 254, 255, 255, 255]


def test_what_bytes_cannot_say_is_an_error() -> None:
    outputs = np.array([0.5, np.nan], np.float32)
    assert from_float(outputs, np.float32) is outputs
    with pytest.raises(InvalidInputError, match="not numbers"):
        from_float(outputs, np.uint8)
