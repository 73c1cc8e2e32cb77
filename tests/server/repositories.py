"""Opening a repository of real bundles for a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from latentry_server.batching.limits import BatchingLimits
from latentry_server.metrics import Metrics
from latentry_server.repository.models import ModelRepository
from latentry_server.sessions.devices import Device
from latentry_server.sessions.onnx import OnnxSession
from latentry_server.sessions.session import Session
from prometheus_client import CollectorRegistry


def open_onnx(graph: bytes) -> Session:
    """Open a session on one thread of the CPU."""
    return OnnxSession(graph, device=Device("cpu"), num_threads=1)


@asynccontextmanager
async def open_repository(
    folder: Path,
    *,
    poll_interval_s: float | None = None,
    open_session: Callable[[bytes], Session] = open_onnx,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[ModelRepository]:
    """Start a repository, and close it."""
    repository = ModelRepository(
        folder,
        open_session=open_session,
        limits=BatchingLimits(max_batch_rows=16, max_queue_rows=1024),
        metrics=Metrics(registry or CollectorRegistry()),
        poll_interval_s=poll_interval_s,
    )
    await repository.start()
    try:
        yield repository
    finally:
        await repository.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; a minute is long enough for any machine."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is about things that signal nothing
            await asyncio.sleep(0.005)
