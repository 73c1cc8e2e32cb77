"""A session's thread."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from latentry_server.batching.queue import Entry
from latentry_server.sessions.session import RunOptions

# Event loops may round their timers to milliseconds, down as well.
_TIMER_STEP_S = 0.001

Outputs = Mapping[str, NDArray[Any]]


class Timed(NamedTuple):
    """What a run gave to each entry, when it began on time.monotonic()'s clock, and how long it took."""

    outputs: list[Outputs]
    started_s: float
    run_s: float


@dataclass(eq=False, slots=True)
class _Run:
    entries: Sequence[Entry]
    options: RunOptions
    started_s: float = math.inf
    timer: asyncio.TimerHandle | None = field(default=None, init=False)


class Lane:
    """Runs batches in a thread, one after the other, and ends those that nobody waits for or that take too long.

    All methods are called on the event loop.
    """

    def __init__(
        self, run: Callable[[Sequence[Entry], RunOptions], list[Outputs]], *, name: str, max_run_s: float
    ) -> None:
        """Take what is to be called in the thread for each batch."""
        self._run = run
        self._max_run_s = max_run_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._runs: list[_Run] = []

    async def run(self, entries: Sequence[Entry], options: RunOptions) -> Timed:
        """Run a batch after those before; raises what the run raises, `options.terminate` set where it was ended."""
        run = _Run(entries, options)
        self._runs.append(run)
        self._end_late(run)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, run)
        finally:
            if run.timer is not None:
                run.timer.cancel()
            self._runs.remove(run)

    def abandon(self) -> None:
        """End the runs that nobody waits for any more."""
        for run in self._runs:
            if all(entry.answer.done() for entry in run.entries):
                run.options.terminate = True

    def close(self) -> None:
        """End the thread, once it has nothing to run."""
        self._thread.shutdown()

    def _timed(self, run: _Run) -> Timed:
        run.started_s = started_s = time.monotonic()
        outputs = self._run(run.entries, run.options)
        return Timed(outputs, started_s, time.monotonic() - started_s)

    def _end_late(self, run: _Run) -> None:
        """End a run that is late for all of its callers or takes longer than any may, else look again when it would."""
        now_s = time.monotonic()
        last_s = max(math.inf if entry.deadline_s is None else entry.deadline_s for entry in run.entries)
        left_s = min(last_s, min(run.started_s, now_s) + self._max_run_s) + _TIMER_STEP_S - now_s
        if left_s > 0:
            run.timer = asyncio.get_running_loop().call_later(left_s, self._end_late, run)
        else:
            run.options.terminate = True
