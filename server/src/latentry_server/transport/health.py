"""grpc.health.v1, read from the repository's real state."""
# ruff: noqa: N802 - methods have the RPCs' names

import asyncio
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)
from grpc_health.v1.health_pb2_grpc import HealthServicer

from latentry_server.errors import QueueFullError
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.version import ModelState
from latentry_server.transport.drain import RETRY_AFTER_S, Drain

SERVER = ""

Context = grpc.aio.ServicerContext[Any, Any]


class Health(HealthServicer):  # type: ignore[misc]  # the package publishes no types
    """Services are "" (the server), "<model>" (any version of it) and "<model>/<version>"."""

    def __init__(self, repository: ModelRepository, drain: Drain, *, max_watches: int) -> None:
        """Bound the watches, since they need no token and each looks again whenever a model comes or goes."""
        self._repository = repository
        self._drain = drain
        self._max_watches = max_watches
        self._num_watches = 0
        self._changed = asyncio.Condition()
        self._notifying: set[asyncio.Task[None]] = set()
        repository.subscribe(self._on_change)

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """Tell one service's health; NOT_FOUND where there is no such service."""
        status = self._statuses().get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return HealthCheckResponse(status=status)

    async def List(self, request: HealthListRequest, context: Context) -> HealthListResponse:  # noqa: ARG002
        """Tell the health of every service."""
        return HealthListResponse(
            statuses={service: HealthCheckResponse(status=status) for service, status in self._statuses().items()}
        )

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:
        """Tell one service's health whenever it changes, until the server shuts down."""
        if self._num_watches >= self._max_watches:
            raise QueueFullError(f"{self._num_watches} health watches are open", retry_after_s=RETRY_AFTER_S)
        self._num_watches += 1
        try:
            await self._tell(request.service, context)
        finally:
            self._num_watches -= 1

    async def _tell(self, service: str, context: Context) -> None:
        told = None
        while True:
            async with self._changed:
                while (status := self._watched(service)) == told and not self._drain.started.is_set():
                    await self._changed.wait()
            if status == told:
                return
            await context.write(HealthCheckResponse(status=status))
            told = status

    async def notify(self) -> None:
        """Let every watcher look again."""
        async with self._changed:
            self._changed.notify_all()

    def _watched(self, service: str) -> HealthCheckResponse.ServingStatus:
        return self._statuses().get(service, HealthCheckResponse.SERVICE_UNKNOWN)

    def _statuses(self) -> dict[str, HealthCheckResponse.ServingStatus]:
        """Tell the health of all: the server is ready whatever its models, a model where one of its versions is."""
        is_ready = {SERVER: True}
        for status in self._repository.statuses():
            for service in (status.name, f"{status.name}/{status.version}"):
                is_ready[service] = is_ready.get(service, False) or status.state is ModelState.READY
        refuses = self._drain.started.is_set()
        return {
            service: HealthCheckResponse.SERVING if ready and not refuses else HealthCheckResponse.NOT_SERVING
            for service, ready in is_ready.items()
        }

    def _on_change(self, _name: str, _version: int, _state: ModelState) -> None:
        task = asyncio.get_running_loop().create_task(self.notify())
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)
