"""A real server, of one process and of several, whose disk is full for a while."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry.v1.model_service_pb2_grpc import ModelServiceStub

from tests.server.bundles import Autoencoder, images
from tests.server.command import process
from tests.server.serving import array, tensor

NUM_CHANNELS = 16  # of two workers, one gets none of them in 1 of 32768 times


def family(pid: int) -> Iterator[int]:
    """List a process, its children, whichever thread has started them, and theirs."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has ended
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def fill_disk(pid: int, *, is_full: bool = True) -> None:
    """Let a server write no byte to any file, or as many as it likes."""
    for member in family(pid):
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(member, resource.RLIMIT_FSIZE)
            resource.prlimit(member, resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))


async def versions(address: str) -> set[int]:
    """Ask over many connections, and say which versions have answered, and rightly."""
    request = messages.EncodeRequest(model="stacked", inputs=tensor(images(2)))
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(NUM_CHANNELS)]
    answers = await asyncio.gather(*(InferenceServiceStub(channel).Encode(request) for channel in channels))
    await asyncio.gather(*(channel.close() for channel in channels))
    for answer in answers:
        expected = Autoencoder(seed=answer.run.version).encode(images(2))
        np.testing.assert_allclose(array(answer.codings), expected, atol=1e-5)
    return {answer.run.version for answer in answers}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("scheme", "error"),
    [
        ("", r"temporary files: expected room for \d+ bytes: File too large"),
        ("file://", "the cache cannot be written: File too large"),
    ],
)
async def test_while_the_disk_is_full_nothing_is_lost_and_afterwards_new_versions_are_loaded(
    tmp_path: Path, workers: int, scheme: str, error: str
) -> None:
    Autoencoder(seed=1).write(tmp_path, "stacked", 1)
    with process(repository=f"{scheme}{tmp_path}", workers=workers, poll_interval_s=0.2) as (running, address, _lines):
        fill_disk(running.pid)
        Autoencoder(seed=2).write(tmp_path, "stacked", 2)
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match=f"'stacked' version 2: loading failed: {error}"):
                await ModelServiceStub(channel).LoadModel(model_service_pb2.LoadModelRequest(model="stacked"))
        assert await versions(address) == {1}
        async with asyncio.timeout(60):
            while await versions(address) != {2}:
                fill_disk(running.pid, is_full=False)  # again, for a process that was just being started
        assert running.poll() is None
