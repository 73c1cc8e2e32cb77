"""The SDK against a server whose workers are killed under it."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from latentry_client import AsyncClient, Client

from tests.server.bundles import Autoencoder, images
from tests.server.command import children, free_port, get, process, sample, until

NUM_CALLERS, NUM_KILLS = 16, 2
IMAGES = images(NUM_CALLERS)
CODINGS = Autoencoder().encode(IMAGES)


@pytest.mark.parametrize("in_threads", [False, True])
async def test_no_call_is_lost_when_workers_are_killed_under_load(tmp_path: Path, in_threads: bool) -> None:
    """Every call is answered, and right, before, while and after one of two workers dies."""
    Autoencoder().write(tmp_path)
    port, num_answered, is_over = free_port(), 0, False
    with process(repository=tmp_path, workers=2, metrics_port=port) as (running, address, _):
        async with AsyncClient(address) as async_client:
            client = Client(address)

            async def call(row: int) -> None:
                nonlocal num_answered
                arguments = "stacked", IMAGES[row : row + 1]
                while not is_over:
                    if in_threads:
                        encoding = await asyncio.to_thread(client.encode, *arguments)
                    else:
                        encoding = await async_client.encode(*arguments)
                    np.testing.assert_allclose(encoding.codings, CODINGS[row : row + 1], atol=1e-5)
                    num_answered += 1

            async def answer_more() -> None:
                goal = num_answered + 10 * NUM_CALLERS
                await until(lambda: num_answered >= goal or any(caller.done() for caller in callers))

            def num_workers() -> float:
                return sample(get(f"http://127.0.0.1:{port}/metrics"), "latentry_workers")

            callers = [asyncio.create_task(call(row)) for row in range(NUM_CALLERS)]
            for _ in range(NUM_KILLS):
                await answer_more()
                os.kill(children(running.pid)[0], signal.SIGKILL)
                await answer_more()
                await until(lambda: num_workers() == 2)
            await answer_more()
            is_over = True
            await asyncio.gather(*callers)
            client.close()
        running.terminate()
        assert await asyncio.to_thread(running.wait, 30) == 0
