"""The load: calls of all kinds at a steady rate, and beside them what happens now and then."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import numpy as np

from benchmarks.soak.callers import STREAM_CALLS, Callers
from benchmarks.soak.tally import Tally

_MAX_IN_FLIGHT = 64
"""On a machine that is too busy for the rate, calls wait for each other rather than pile up."""

_SEED = 1
_STALL_EVERY_S, _RELOAD_EVERY_S, _SCRAPE_EVERY_S = 20.0, 15.0, 5.0


async def run(
    callers: Callers, tally: Tally, *, scrape: Callable[[], Awaitable[None]], calls_per_s: float, seconds: float
) -> None:
    """Call for some seconds."""
    until_s = time.monotonic() + seconds
    await asyncio.gather(
        _call_steadily(callers, tally, calls_per_s, until_s),
        _repeat(tally, "stalled Stream", callers.stall, _STALL_EVERY_S, until_s),
        _repeat(tally, "reload", callers.reload, _RELOAD_EVERY_S, until_s),
        _repeat(tally, "scrape", scrape, _SCRAPE_EVERY_S, until_s),
    )


async def _call_steadily(callers: Callers, tally: Tally, calls_per_s: float, until_s: float) -> None:
    kinds = (  # its name, how often, calls
        ("call", callers.call, 0.80, 1),
        ("Stream", callers.stream, 0.01, STREAM_CALLS),
        ("Open Inference", callers.infer, 0.06, 1),
        ("mistake", callers.mistake, 0.04, 1),
        ("cancelled", callers.give_up, 0.04, 1),
        ("deadline", callers.hurry, 0.04, 1),
        ("leaves", callers.leave, 0.01, 1),
    )
    rng = np.random.default_rng(_SEED)
    due_s, room, tasks = time.monotonic(), asyncio.Semaphore(_MAX_IN_FLIGHT), set()

    def finish(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        room.release()

    while (now_s := time.monotonic()) < until_s:
        await asyncio.sleep(max(0.0, due_s - now_s))
        await room.acquire()
        name, act, _, calls = kinds[rng.choice(len(kinds), p=[share for _, _, share, _ in kinds])]
        due_s += calls / calls_per_s
        task = asyncio.create_task(tally.watch(name, act()))
        tasks.add(task)
        task.add_done_callback(finish)
    await asyncio.gather(*tasks)


async def _repeat(tally: Tally, kind: str, act: Callable[[], Awaitable[None]], every_s: float, until_s: float) -> None:
    began_s = time.monotonic()
    for turn in itertools.count(1):
        await tally.watch(kind, act())
        pause_s = began_s + turn * every_s - time.monotonic()
        if time.monotonic() + pause_s >= until_s:
            return
        await asyncio.sleep(max(0.0, pause_s))
