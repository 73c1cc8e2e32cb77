"""The SDK against a server whose workers are killed under it."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
from latentry_client import AsyncClient, Client, requests
from latentry_client.results import Encoding

from tests.server.bundles import Autoencoder, images
from tests.server.command import children, free_port, get, process, sample, until

NUM_CALLERS, NUM_KILLS = 16, 2
IMAGES = images(NUM_CALLERS)
CODINGS = Autoencoder().encode(IMAGES)

Calls = Callable[[str, int], AsyncIterator[Encoding]]


async def calls(address: str, row: int) -> AsyncIterator[Encoding]:
    async with AsyncClient(address) as client:
        while True:
            yield await client.encode("stacked", IMAGES[row : row + 1])


async def calls_of_threads(address: str, row: int) -> AsyncIterator[Encoding]:
    with Client(address) as client:
        while True:
            yield await asyncio.to_thread(client.encode, "stacked", IMAGES[row : row + 1])


async def streams(address: str, row: int) -> AsyncIterator[Encoding]:
    async with AsyncClient(address) as client:
        async for encoding in client.stream(itertools.repeat(requests.encode("stacked", IMAGES[row : row + 1]))):
            yield encoding


async def streams_of_threads(address: str, row: int) -> AsyncIterator[Encoding]:
    with Client(address) as client:
        results = client.stream(itertools.repeat(requests.encode("stacked", IMAGES[row : row + 1])))
        while True:
            yield await asyncio.to_thread(next, results)


async def test_no_call_is_lost_when_workers_are_killed_under_load(tmp_path: Path) -> None:
    """Every call is answered, and right, before, while and after one of two workers dies."""
    Autoencoder().write(tmp_path)
    port, num_answered, is_over = free_port(), [0] * NUM_CALLERS, False
    with process(repository=tmp_path, workers=2, load_timeout_s=0, metrics_port=port) as (running, address, _):

        async def check(row: int, answers: AsyncIterator[Encoding]) -> None:
            async for encoding in answers:
                np.testing.assert_allclose(encoding.codings, CODINGS[row : row + 1], atol=1e-5)
                num_answered[row] += 1
                if is_over:
                    break

        async def answer_more() -> None:
            goals = [count + 10 for count in num_answered]
            await until(
                lambda: (
                    any(caller.done() for caller in callers)
                    or all(count >= goal for count, goal in zip(num_answered, goals, strict=True))
                )
            )

        async def until_replaced(num_kills: int) -> None:
            def is_replaced() -> bool:
                metrics = get(f"http://127.0.0.1:{port}/metrics")
                names = "latentry_worker_restarts_total", "latentry_workers"
                return [sample(metrics, name) for name in names] == [num_kills, 2]

            await until(is_replaced)

        kinds = (calls, calls_of_threads, streams, streams_of_threads)
        callers = [
            asyncio.create_task(check(row, kind(address, row)))
            for row, kind in zip(range(NUM_CALLERS), itertools.cycle(kinds), strict=False)
        ]
        for num_kills in range(1, NUM_KILLS + 1):
            await answer_more()
            os.kill(children(running.pid)[0], signal.SIGKILL)
            await answer_more()
            await until_replaced(num_kills)
        await answer_more()
        is_over = True
        await asyncio.gather(*callers)
        running.terminate()
        assert await asyncio.to_thread(running.wait, 30) == 0
