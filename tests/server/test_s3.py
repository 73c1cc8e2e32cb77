"""A real server process on a repository in a local S3."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
import s3fs
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub

from tests.processes import serve
from tests.server.bundles import Autoencoder, images
from tests.server.serving import array, tensor


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """An empty bucket `bucket` as a file system, and the process that holds it; AWS_* variables lead to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"Running on (http://\S+?:\d+)", line) for line in process.stderr)))
            monkeypatch.setenv("AWS_ENDPOINT_URL", found[1])
            files = s3fs.S3FileSystem(endpoint_url=found[1], skip_instance_cache=True)
            files.mkdir("bucket")
            yield files, process
        finally:
            process.kill()
            process.communicate()


async def encode(address: str, version: int = 0) -> int:
    """Ask for codings, and return the version whose weights they were made with."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = messages.EncodeRequest(model="stacked", version=version, inputs=tensor(images(3)))
        codings = array((await InferenceServiceStub(channel).Encode(request)).codings)
    return next(seed for seed in (1, 2) if np.allclose(codings, Autoencoder(seed=seed).encode(images(3)), atol=1e-5))


async def test_a_repository_in_s3_is_served_polled_and_not_missed_when_it_is_gone(
    tmp_path: Path, s3: tuple[Any, subprocess.Popen[str]]
) -> None:
    files, process = s3
    files.put(str(Autoencoder(seed=1).write(tmp_path, "stacked", 1)), "bucket/models/stacked/1", recursive=True)
    with serve("s3://bucket/models", "--poll-interval-s", "0.2", "--cache-dir", str(tmp_path / "cache")) as address:
        assert await encode(address) == 1
        files.put(str(Autoencoder(seed=2).write(tmp_path, "stacked", 2)), "bucket/models/stacked/2", recursive=True)
        async with asyncio.timeout(60):
            while await encode(address) != 2:  # noqa: ASYNC110 - another process changes
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await asyncio.sleep(1)  # a few looks that find nobody
        assert await encode(address) == 2
    assert {file.name for file in (tmp_path / "cache").glob("*/stacked/*")} == {"1", "2"}
