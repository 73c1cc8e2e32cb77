"""A worker, as the supervisor sees it."""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from latentry_server.scratch import scratch_folder
from latentry_server.settings import Settings
from latentry_server.signals import describe_exit
from latentry_server.workers.link import Link, LinkClosedError
from latentry_server.workers.relay import Action, Relay, Versions

if TYPE_CHECKING:
    from prometheus_client import Metric

_COUNT_TIMEOUT_S = 2.0
_PING_S = 5.0
_MAX_MISSED_PINGS = 6
"""A worker that misses so many in a row is stuck: half a minute, since on a busy machine one may well miss a few."""


class WorkerProcess:
    """A process that runs once."""

    def __init__(self, number: int, settings: Settings, *, relay: Relay, on_ready: Callable[[], None]) -> None:
        self.number = number
        self.is_ready = False
        self.error = ""
        """Why it ended, in one line: what kept it from starting, where it says so."""
        self.counted: list[Metric] = []
        """Its metrics, as last heard."""
        self._settings = settings
        self._relay = relay
        self._on_ready = on_ready
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._has_ended = False
        self._link = Link(
            {
                "introduce": self._introduce,
                "join": self._join,
                "ready": self._ready,
                "fail": self._fail,
                "relay": self._pass_on,
            }
        )

    async def run(self) -> None:
        """Start the process, and wait for its end."""
        try:
            await self._run()
        except OSError as error:
            self.error = f"cannot start a process: {error.strerror}"

    async def _run(self) -> None:
        ours, theirs = socket.socketpair()
        await self._link.open(ours)
        try:
            with _own_temporary_files() as environment:
                with theirs:
                    # A group of its own, so that Ctrl-C reaches the supervisor alone; -P, so that the folder it is
                    # started in is not searched for modules.
                    command = sys.executable, "-P", "-m", "latentry_server.workers.worker"
                    self._process = await asyncio.create_subprocess_exec(
                        *command, stdin=theirs.fileno(), env=environment, process_group=0
                    )
                if self._is_stopped:  # while it was being started
                    self.stop()
                code = await self._process.wait()
            self.error = self.error or f"ended: {describe_exit(code)}"
        finally:
            if self._watching is not None:
                self._watching.cancel()
            self.is_ready = False
            self._has_ended = True
            self._link.close()
            self._relay.leave(self)

    def stop(self) -> None:
        """Have it answer what it has let in, and end."""
        self._is_stopped = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    async def act(self, action: Action, name: str, version: int, *, pinned: bool) -> Versions:
        """Have it load or unload."""
        versions: Versions = await self._link.call("act", action, name, version, pinned)
        return versions

    async def count(self) -> None:
        """Ask for its metrics; what it does not answer in time stays as it was."""
        if self.is_ready:
            with contextlib.suppress(TimeoutError, LinkClosedError):
                async with asyncio.timeout(_COUNT_TIMEOUT_S):
                    self.counted = pickle.loads(await self._link.call("count"))  # noqa: S301 (a process of ours)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _watch(self) -> None:
        """Kill the worker once its event loop answers no more: nothing in it could."""
        missed = 0
        while missed < _MAX_MISSED_PINGS:
            # Pings are counted, rather than the time: where all processes stood still together, one has been missed.
            try:
                async with asyncio.timeout(_PING_S):
                    await self._link.call("ping")
            except TimeoutError:
                missed += 1
            except LinkClosedError:
                return
            else:
                missed = 0
                await asyncio.sleep(_PING_S)
        self.error = f"did not answer for {_MAX_MISSED_PINGS * _PING_S:g} s and was killed"
        self.kill()

    async def _introduce(self) -> tuple[int, Settings]:
        self._watching = asyncio.create_task(self._watch())  # its event loop runs from now on
        return self.number, self._settings

    async def _join(self) -> None:
        with contextlib.suppress(LinkClosedError):
            await self._relay.join(self)
        if self._has_ended:
            self._relay.leave(self)

    async def _ready(self) -> None:
        self.is_ready = True
        self._on_ready()

    async def _fail(self, error: str) -> None:
        self.error = error

    async def _pass_on(self, action: Action, name: str, version: int) -> Versions:
        return await self._relay.act(self, action, name, version)


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[dict[str, str]]:
    """Yield an environment with a folder for temporary files, so that a worker that is killed leaves none behind."""
    with contextlib.ExitStack() as made:
        environment = dict(os.environ)
        with contextlib.suppress(OSError):  # a full disk must not keep a worker from starting
            environment["TMPDIR"] = str(made.enter_context(scratch_folder()))
        yield environment
