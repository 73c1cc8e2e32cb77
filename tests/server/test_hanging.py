"""Runs that do not end by themselves: ended once nobody waits for them any more, or once they take too long."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import grpc
import grpc.aio
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry_server.batching.batcher import Batcher
from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.queue import Ran
from latentry_server.errors import DeadlineExceededError, RuntimeFailedError
from latentry_server.metrics import Metrics
from latentry_server.spec import GraphRole
from prometheus_client import CollectorRegistry

from tests.server.bundles import Autoencoder, Floats, images, turning_encoder
from tests.server.repositories import open_onnx, until
from tests.server.serving import array, serve, tensor


class Hanging(Autoencoder):
    """An encoder that turns its codings around a million million times where a batch has a white pixel."""

    graphs: ClassVar = Autoencoder.graphs | turning_encoder(
        "brightest = ReduceMax<keepdims = 0>(inputs) white = Floor(brightest)"
        " million = Constant<value = float {1e12}>() many = Mul(white, million) times = Cast<to = 7>(many)"
    )


DARK = images(1)
WHITE: Floats = np.ones_like(DARK)


def make_batcher(max_run_s: float) -> Batcher:
    return Batcher(
        open_onnx(Hanging().onnx_files()["encoder"]),
        model="m",
        version=1,
        role=GraphRole.ENCODER,
        limits=BatchingLimits(max_run_s=max_run_s),
        metrics=Metrics(CollectorRegistry()),
    )


@pytest.fixture
async def batcher() -> AsyncIterator[Batcher]:
    batcher = make_batcher(max_run_s=3600)
    yield batcher
    await batcher.close()


async def start(batcher: Batcher, *inputs: Floats) -> list[asyncio.Task[Ran]]:
    """Start a run of all inputs, and wait until it runs."""
    tasks = [asyncio.create_task(batcher.run({"inputs": each})) for each in inputs]
    await until(lambda: bool(batcher._lane._runs))
    return tasks


async def assert_answers(batcher: Batcher) -> None:
    ran = await batcher.run({"inputs": DARK})
    np.testing.assert_allclose(ran.outputs["codings"], Hanging().encode(DARK), atol=1e-5)


async def test_a_run_whose_caller_is_gone_is_ended(batcher: Batcher) -> None:
    (caller,) = await start(batcher, WHITE)
    caller.cancel()
    await assert_answers(batcher)


async def test_a_run_goes_on_while_one_of_its_callers_waits(batcher: Batcher) -> None:
    first, second = await start(batcher, WHITE, DARK)
    (run,) = batcher._lane._runs
    assert len(run.entries) == 2
    first.cancel()
    await asyncio.sleep(0.05)
    assert not run.options.terminate
    second.cancel()
    await assert_answers(batcher)
    assert run.options.terminate


async def test_a_run_that_takes_too_long_fails_its_callers_and_nobody_else() -> None:
    batcher = make_batcher(max_run_s=0.05)
    callers = await start(batcher, WHITE, DARK)
    for caller in callers:
        with pytest.raises(RuntimeFailedError, match=r"m/1/encoder failed: the run took longer than 0\.05 s"):
            await caller
    await assert_answers(batcher)
    await batcher.close()


async def test_a_run_that_is_late_for_all_of_its_callers_is_ended(batcher: Batcher) -> None:
    """Also where nobody cancels them, as gRPC does at its own deadlines."""
    now_s = time.monotonic()
    late = [asyncio.create_task(batcher.run({"inputs": WHITE}, deadline_s=now_s + after_s)) for after_s in (0.05, 0.2)]
    for caller in late:
        with pytest.raises(DeadlineExceededError):
            await caller
    await assert_answers(batcher)


def encode(inputs: Floats) -> messages.EncodeRequest:
    return messages.EncodeRequest(model="hanging", inputs=tensor(inputs))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    Hanging().write(tmp_path, "hanging")
    return tmp_path


async def test_a_passed_deadline_ends_the_run_and_the_next_call_is_answered(repository: Path) -> None:
    async with serve(repository) as served:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.inference.Encode(encode(WHITE), timeout=0.2)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        response = await served.inference.Encode(encode(DARK), timeout=60)
        np.testing.assert_allclose(array(response.codings), Hanging().encode(DARK), atol=1e-5)


async def test_a_run_that_hangs_does_not_keep_the_server_from_stopping(repository: Path) -> None:
    async with serve(repository, drain_timeout_s=0.1) as served:
        call = asyncio.ensure_future(served.inference.Encode(encode(WHITE)))
        await until(lambda: bool(served.server._drain._in_flight))
        async with asyncio.timeout(60):
            await served.server.stop()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_a_run_that_hangs_on_the_event_loop_is_ended_there_and_fails_in_the_thread() -> None:
    batcher = make_batcher(max_run_s=0.05)
    for _ in range(100):  # until it has shown that it is short
        await assert_answers(batcher)
    with pytest.raises(RuntimeFailedError, match=r"took longer than 0.05 s"):
        await batcher.run({"inputs": WHITE})
    await assert_answers(batcher)
    await batcher.close()
