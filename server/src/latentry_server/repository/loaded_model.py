"""A model version that is ready to run."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from latentry.v1 import manifest_pb2
from numpy.typing import NDArray

from latentry_server.batching.batcher import Batcher
from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.queue import Ran
from latentry_server.batching.statistics import GraphStatistics
from latentry_server.metrics import Metrics
from latentry_server.sessions.session import Session
from latentry_server.spec import GraphRole, ModelSpec


class LoadedModel:
    """One model version: what it is, and one batcher a graph."""

    def __init__(
        self,
        spec: ModelSpec,
        manifest: manifest_pb2.Manifest,
        sessions: Mapping[GraphRole, Session],
        *,
        limits: BatchingLimits,
        metrics: Metrics,
    ) -> None:
        self.spec = spec
        self.manifest = manifest
        self.limits = limits
        self._sessions = sessions
        self._batchers = {
            role: Batcher(session, model=spec.name, version=spec.version, role=role, limits=limits, metrics=metrics)
            for role, session in sessions.items()
        }

    def run(
        self,
        role: GraphRole,
        inputs: Mapping[str, NDArray[Any]],
        *,
        client: str = "",
        deadline_s: float | None = None,
    ) -> Awaitable[Ran]:
        """Run one graph that the bundle has; see `Batcher.run` for arguments and errors."""
        return self._batchers[role].run(inputs, client=client, deadline_s=deadline_s)

    def statistics(self, role: GraphRole) -> GraphStatistics:
        """What one graph that the bundle has did since it was loaded."""
        return self._batchers[role].statistics

    async def close(self) -> None:
        """Answer what waits, then free the sessions."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))
        for session in self._sessions.values():
            await asyncio.to_thread(session.close)
