"""The supervisor: starts the workers, starts dead ones again, drains them, and adds up their metrics."""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace

from prometheus_client import CollectorRegistry

from latentry_server.errors import StartError
from latentry_server.metrics import SupervisorMetrics
from latentry_server.metrics_server import MetricsServer
from latentry_server.ports import address, reserve_port
from latentry_server.repository.cache_folder import default_cache, is_url
from latentry_server.settings import Settings
from latentry_server.signals import stop_signal
from latentry_server.workers.counts import Counts
from latentry_server.workers.process import WorkerProcess
from latentry_server.workers.relay import Relay

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_LONG_LIFE_S = 60.0
"""A worker that lived for so long has not failed at its start."""
_END_TIMEOUT_S = 10.0
"""How long a worker may take to end beyond its drain."""


async def run(settings: Settings) -> None:
    """Serve by `settings.workers` processes until SIGTERM or SIGINT, then drain them.

    Raises:
        StartError: the port is taken, there can be no cache, or a worker could not start when all were to start for the
            first time.
    """
    stop = stop_signal()
    if settings.cache_dir is None and is_url(settings.repository):  # workers have temporary files apart, but share this
        settings = replace(settings, cache_dir=default_cache())
    with reserve_port(settings.host, settings.port) as port:
        await Supervisor(replace(settings, port=port), stop).run()


class Supervisor:
    """Keeps a number of workers running."""

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._relay = Relay()
        self._workers: dict[int, WorkerProcess] = {}
        self._registry = CollectorRegistry()
        self._metrics = SupervisorMetrics(self._registry)
        self._counts = Counts(self._workers)
        self._registry.register(self._counts)
        self._num_started = 0

    async def run(self) -> None:
        """Run until the event is set, then drain; StartError where a worker cannot start."""
        settings = self._settings
        metrics_server = (
            MetricsServer(settings.host, settings.metrics_port, self._registry) if settings.metrics_port else None
        )
        keeping = [asyncio.create_task(self._keep(number)) for number in range(1, settings.workers + 1)]
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((stopping, *keeping), return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        await self._drain(keeping)
        if metrics_server is not None:
            await asyncio.to_thread(metrics_server.close)
        if errors := [error for task in keeping if (error := task.exception())]:
            raise errors[0]
        logger.info("stopped")

    async def _keep(self, number: int) -> None:
        """Run one worker after the other; StartError where the first never becomes ready."""
        pauses = Pauses()
        while not self._stop.is_set():
            worker = self._workers[number] = WorkerProcess(
                number, self._settings, relay=self._relay, on_ready=self._take_ready
            )
            began_s = time.monotonic()
            await worker.run()
            del self._workers[number]
            self._counts.keep(worker.counted)
            self._count_ready()
            if self._stop.is_set():
                return
            if self._num_started < self._settings.workers:
                raise StartError(worker.error)
            pause_s = pauses.next_s(lived_s=time.monotonic() - began_s)
            logger.error("worker %d %s; another one starts in %g s", number, worker.error, pause_s)
            self._metrics.restarts.inc()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause_s)

    async def _drain(self, keeping: list[asyncio.Task[None]]) -> None:
        for worker in self._workers.values():
            worker.stop()
        timeout_s = self._settings.drain_timeout_s + self._settings.drain_refuse_s + _END_TIMEOUT_S
        _, late = await asyncio.wait(keeping, timeout=timeout_s)
        if late:
            logger.warning("%d workers have not ended in %g s", len(late), timeout_s)
            for worker in self._workers.values():
                worker.kill()
            await asyncio.wait(late)

    def _take_ready(self) -> None:
        self._count_ready()
        if self._num_started < self._settings.workers:
            self._num_started += 1
            if self._num_started == self._settings.workers:
                where = address(self._settings.host, self._settings.port)
                logger.info("latentry-server listening on %s, with %d workers", where, self._num_started)

    def _count_ready(self) -> None:
        self._metrics.workers.set(sum(worker.is_ready for worker in self._workers.values()))


class Pauses:
    """How long to wait before a worker is started again: longer each time, unless it lived for long."""

    def __init__(self) -> None:
        self._next_s = _FIRST_PAUSE_S

    def next_s(self, *, lived_s: float) -> float:
        """Return the pause after a worker that lived for so long."""
        pause_s = _FIRST_PAUSE_S if lived_s > _LONG_LIFE_S else self._next_s
        self._next_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return pause_s
