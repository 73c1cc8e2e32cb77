"""One worker: `python -m latentry_server.workers.worker`, whose standard input is the link to the supervisor."""

import asyncio
import contextlib
import pickle
import socket
import sys

import uvloop

from latentry_server import logs
from latentry_server.app import Server, serve
from latentry_server.errors import ShuttingDownError, StartError
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.version import ModelStatus
from latentry_server.settings import Settings
from latentry_server.signals import stop_signal
from latentry_server.workers.link import Link, LinkClosedError
from latentry_server.workers.relay import Action, Versions


async def run(end: socket.socket) -> int:
    """Serve until a signal comes or the supervisor has gone, then drain; return the exit code."""
    stop = stop_signal()
    worker = _Worker(stop)
    await worker.link.open(end)
    try:
        number, settings = await worker.link.call("introduce")
        logs.configure(settings.log_level, process=f"worker {number}")
        await worker.serve(settings)
    except StartError as error:
        with contextlib.suppress(LinkClosedError):
            await worker.link.call("fail", str(error))
        return 1
    except LinkClosedError:  # before it was ready: nobody called it
        return 1
    return 0


class _Worker:
    """What the supervisor calls, and how the server starts in its company."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.link = Link({"act": self._act, "count": self._count, "ping": self._ping}, on_close=stop.set)
        self._stop = stop

    async def serve(self, settings: Settings) -> None:
        self._server = Server(settings, share=lambda repository: _SharedLoading(repository, self.link))
        await serve(self._server, self._start(), until=self._stop)

    async def _start(self) -> None:
        # Whoever listens gets connections: only what is ready may.
        await self._server.load()
        await self.link.call("join")
        self._server.listen()
        await self._server.serve()
        await self.link.call("ready")

    async def _act(self, action: Action, name: str, version: int, pinned: bool) -> Versions:  # noqa: FBT001
        """Do this worker's part; return the versions it was done to."""
        repository = self._server.repository
        if action == "load":
            return ((await repository.load(name, version, pinned=pinned)).version,)
        return tuple(status.version for status in await repository.unload(name, version))

    async def _ping(self) -> None:
        """Show that the event loop runs."""

    async def _count(self) -> bytes:
        return await asyncio.to_thread(lambda: pickle.dumps(list(self._server.registry.collect())))


class _SharedLoading:
    """Has every worker load or unload, and tells how this one's models are then."""

    def __init__(self, repository: ModelRepository, link: Link) -> None:
        self._repository = repository
        self._link = link

    async def load(self, name: str, version: int = 0) -> ModelStatus:
        (loaded,) = await self._relay("load", name, version)
        return self._repository.status(name, loaded)

    async def unload(self, name: str, version: int = 0) -> list[ModelStatus]:
        return [self._repository.status(name, number) for number in await self._relay("unload", name, version)]

    async def _relay(self, action: Action, name: str, version: int) -> Versions:
        try:
            versions: Versions = await self._link.call("relay", action, name, version)
        except LinkClosedError:
            raise ShuttingDownError from None
        return versions


if __name__ == "__main__":
    sys.exit(uvloop.run(run(socket.socket(fileno=sys.stdin.fileno()))))
