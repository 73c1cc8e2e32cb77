"""Opening a repository of real bundles for a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from latentry_server.batching.limits import BatchingLimits
from latentry_server.metrics import Metrics
from latentry_server.repository.local_store import LocalStore
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.selection import Selection
from latentry_server.repository.store import Store
from latentry_server.sessions.devices import Device
from latentry_server.sessions.onnx import OnnxRuntime, OnnxSession
from latentry_server.sessions.session import Runtime, Session
from prometheus_client import CollectorRegistry

RUNTIME = OnnxRuntime(device=Device("cpu"), num_threads=1)


def open_onnx(graph: bytes) -> OnnxSession:
    """Open a session on one thread of the CPU."""
    with TemporaryDirectory() as folder:
        return RUNTIME.prepare(graph, Path(folder) / "graph.onnx")


class HookedRuntime:
    """Calls the test before each session that is to answer requests."""

    def __init__(self, before_open: Callable[[], object]) -> None:
        self._before_open = before_open

    def prepare(self, graph: bytes, file: Path) -> Session:
        return RUNTIME.prepare(graph, file)

    def open(self, file: Path) -> Session:
        self._before_open()
        return RUNTIME.open(file)


@asynccontextmanager
async def open_repository(
    repository: Path | Store,
    *,
    poll_interval_s: float | None = None,
    load_timeout_s: float | None = None,
    models: str = "*",
    runtime: Runtime = RUNTIME,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[ModelRepository]:
    """Start a repository, and close it."""
    opened = ModelRepository(
        LocalStore(repository) if isinstance(repository, Path) else repository,
        selection=Selection.parse(models),
        runtime=runtime,
        limits=BatchingLimits(max_batch_rows=16, max_queue_rows=2048),
        metrics=Metrics(registry or CollectorRegistry()),
        poll_interval_s=poll_interval_s,
        load_timeout_s=load_timeout_s,
    )
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; a minute is long enough for any machine."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is about things that signal nothing
            await asyncio.sleep(0.005)


def states(repository: ModelRepository, name: str = "stacked") -> dict[int, str]:
    """Map a model's versions to their states."""
    return {status.version: str(status.state) for status in repository.statuses() if status.name == name}
