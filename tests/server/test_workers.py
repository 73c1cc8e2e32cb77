"""`latentry-server --workers`: real processes that serve as one."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry.v1.model_service_pb2_grpc import ModelServiceStub
from latentry_server.ports import reserve_port
from latentry_server.probe import ask
from latentry_server.settings import Settings
from latentry_server.workers import process as worker_process
from latentry_server.workers.supervisor import Supervisor

from benchmarks.server_process import COMMAND
from tests.server.bundles import Autoencoder, Vae, images
from tests.server.command import (
    children,
    flags,
    free_port,
    get,
    is_alive,
    process,
    run_command,
    sample,
    until,
)
from tests.server.serving import array, tensor

NUM_CHANNELS = 16  # of two workers, one gets none of them in 1 of 32768 times


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    Autoencoder().write(tmp_path / "models")
    Vae().write(tmp_path / "models")
    return tmp_path / "models"


def encode(seed: int = 0) -> messages.EncodeRequest:
    return messages.EncodeRequest(model="stacked", inputs=tensor(images(3, seed=seed)))


def two_workers(
    repository: Path, **settings: object
) -> AbstractContextManager[tuple[subprocess.Popen[str], str, list[str]]]:
    """Serve, without processes that try the bundles: they are tested elsewhere."""
    return process(repository=repository, workers=2, load_timeout_s=0, **settings)


@asynccontextmanager
async def channels(address: str, count: int = NUM_CHANNELS) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Open connections, each of which comes to a worker by chance."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    opened = [grpc.aio.insecure_channel(address, options) for _ in range(count)]
    try:
        yield opened
    finally:
        await asyncio.gather(*(channel.close() for channel in opened))


async def test_all_workers_answer_and_their_metrics_add_up(repository: Path) -> None:
    port = free_port()
    with two_workers(repository, metrics_port=port) as (running, address, lines):
        assert lines[-1].endswith("with 2 workers\n")
        async with channels(address) as opened:
            for _ in range(2):
                answers = await asyncio.gather(
                    *(InferenceServiceStub(channel).Encode(encode(seed)) for seed, channel in enumerate(opened))
                )
        for seed, answer in enumerate(answers):
            np.testing.assert_allclose(array(answer.codings), Autoencoder().encode(images(3, seed=seed)), atol=1e-5)
        text = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics")
        method = 'grpc_method="Encode",grpc_service="latentry.v1.InferenceService",grpc_type="unary"'
        for line in (
            f'grpc_server_handled_total{{grpc_code="OK",{method}}} {2 * NUM_CHANNELS}.0',
            f"grpc_server_handling_seconds_count{{{method}}} {2 * NUM_CHANNELS}.0",
            'latentry_model_loaded{model="vae",version="1"} 2.0',
            "latentry_workers 2.0",
        ):
            assert line in text.splitlines(), line
        running.terminate()
        assert await asyncio.to_thread(running.wait, 30) == 0


async def test_a_dead_worker_is_replaced_and_its_counts_are_kept_but_not_its_files(repository: Path) -> None:
    port = free_port()
    with two_workers(repository, metrics_port=port) as (running, address, _):

        def metrics() -> str:
            return get(f"http://127.0.0.1:{port}/metrics")

        async with channels(address) as opened:
            await asyncio.gather(*(InferenceServiceStub(channel).Encode(encode()) for channel in opened))
        before = await asyncio.to_thread(metrics)
        first, other = children(running.pid)
        folders = [temporary_folder(pid) for pid in (first, other)]
        for folder in folders:
            (folder / "left").write_bytes(bytes(100))
        os.kill(first, signal.SIGKILL)
        await until(lambda: sample(metrics(), "latentry_worker_restarts_total") == 1)
        await until(lambda: sample(metrics(), "latentry_workers") == 2)
        after = await asyncio.to_thread(metrics)
        for name in ("grpc_server_handled_total", "grpc_server_handling_seconds_count", "latentry_batch_rows_sum"):
            assert sample(after, name) == sample(before, name) > 0, name
        assert sample(after, "latentry_model_loads_total") == 2 * 3
        assert other in children(running.pid)
        assert first not in children(running.pid)
        assert [folder.exists() for folder in folders] == [False, True]


async def test_a_worker_that_is_stuck_is_killed_and_replaced_and_one_that_was_for_a_while_stays(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_process, "_PING_S", 1.0)
    stop = asyncio.Event()
    with reserve_port("127.0.0.1", 0) as port:
        settings = Settings(
            repository=str(repository), port=port, metrics_port=0, workers=2, device="cpu", threads=1, load_timeout_s=0
        )
        supervisor = Supervisor(settings, stop)
        before = set(children(os.getpid()))
        running = asyncio.create_task(supervisor.run())

        def count(name: str) -> float | None:
            return supervisor._registry.get_sample_value(name)

        try:
            await until(lambda: count("latentry_workers") == 2)
            stuck, other = [pid for pid in children(os.getpid()) if pid not in before]
            os.kill(stuck, signal.SIGSTOP)
            os.kill(other, signal.SIGSTOP)
            await asyncio.sleep(3)  # it misses half as many pings
            os.kill(other, signal.SIGCONT)
            await until(lambda: count("latentry_worker_restarts_total") == 1)
            assert not is_alive(stuck)
            await until(lambda: count("latentry_workers") == 2)
            assert is_alive(other)
            async with channels(f"127.0.0.1:{port}") as opened:
                calls = (InferenceServiceStub(channel).Encode(encode()) for channel in opened)
                for answer in await asyncio.gather(*calls):
                    np.testing.assert_allclose(array(answer.codings), Autoencoder().encode(images(3)), atol=1e-5)
        finally:
            stop.set()
            await running
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.endswith("did not answer for 6 s and was killed; another one starts in 0.1 s")


async def test_loading_and_unloading_reach_every_worker_and_those_to_come(repository: Path) -> None:
    Vae(seed=1).write(repository, version=2)

    async def states(address: str) -> set[tuple[tuple[int, int], ...]]:
        async with channels(address) as opened:
            lists = await asyncio.gather(
                *(ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest()) for channel in opened)
            )
        return {tuple((model.version, model.state) for model in found.models if model.name == "vae") for found in lists}

    ready, unloaded = model_service_pb2.MODEL_STATE_READY, model_service_pb2.MODEL_STATE_UNLOADED
    with two_workers(repository) as (running, address, _):
        assert await states(address) == {((2, ready), (1, unloaded))}
        async with grpc.aio.insecure_channel(address) as channel:
            stub = ModelServiceStub(channel)
            loaded = await stub.LoadModel(model_service_pb2.LoadModelRequest(model="vae", version=1))
            assert (loaded.model.version, loaded.model.state) == (1, ready)
            assert await states(address) == {((2, ready), (1, ready))}
            gone = await stub.UnloadModel(model_service_pb2.UnloadModelRequest(model="vae", version=2))
            assert [(model.version, model.state) for model in gone.models] == [(2, unloaded)]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.LoadModel(model_service_pb2.LoadModelRequest(model="nothing"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert caught.value.details() == "no model 'nothing'"
        assert await states(address) == {((2, unloaded), (1, ready))}
        killed = set(children(running.pid))
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        await until(lambda: killed.isdisjoint(children(running.pid)))
        await until(lambda: ask_health(address) == "SERVING")
        assert await states(address) == {((2, unloaded), (1, ready))}


def refuses(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_an_emptied_repository_leaves_workers_that_take_up_what_comes(repository: Path) -> None:
    async def codes(address: str) -> set[grpc.StatusCode]:
        async with channels(address) as opened:
            calls = [InferenceServiceStub(channel).Encode(encode()) for channel in opened]
            return {await call.code() for call in calls}

    with two_workers(repository, poll_interval_s=0.2) as (_, address, _lines):
        assert await codes(address) == {grpc.StatusCode.OK}
        for name in ("stacked", "vae"):
            shutil.rmtree(repository / name)
        async with asyncio.timeout(60):
            while await codes(address) != {grpc.StatusCode.NOT_FOUND}:
                pass
        assert ask_health(address) == "SERVING"
        Autoencoder().write(repository)
        async with asyncio.timeout(60):
            while await codes(address) != {grpc.StatusCode.OK}:
                pass


def ask_health(address: str) -> str:
    return ask(address, "", timeout_s=10, ca_file=None, cert_file=None, key_file=None)


async def test_while_no_worker_is_ready_the_port_refuses(repository: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame")
    with two_workers(repository, token_file=token) as (running, address, _):
        assert ask_health(address) == "SERVING"
        token.unlink()  # so that no worker can start again
        for worker in children(running.pid):
            os.kill(worker, signal.SIGKILL)
        await until(lambda: refuses(address))
        assert ask_health(address).startswith("UNAVAILABLE")
        token.write_text("sesame")
        await until(lambda: ask_health(address) == "SERVING")


def temporary_folder(pid: int) -> Path:
    (found,) = re.findall(rb"(?:^|\0)TMPDIR=([^\0]+)", Path(f"/proc/{pid}/environ").read_bytes())
    return Path(os.fsdecode(found))


def test_workers_share_the_cache_of_a_repository_behind_a_url(repository: Path) -> None:
    with process(repository=f"file://{repository}", workers=2, load_timeout_s=0) as (running, _, _lines):
        cache = temporary_folder(running.pid) / f"latentry-cache-{os.getuid()}"
        assert {file.name for file in cache.glob("*/*/1/*")} == {file.name for file in repository.glob("*/1/*.onnx")}
        for worker in children(running.pid):
            assert not list(temporary_folder(worker).glob("latentry-cache-*"))


async def test_workers_end_with_their_supervisor(repository: Path) -> None:
    with two_workers(repository) as (running, _, _lines):
        workers = children(running.pid)
        assert len(workers) == 2
        running.kill()
        await until(lambda: not any(map(is_alive, workers)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repository": "nowhere"}, "repository: expected a readable folder, got nowhere: No such file or directory"),
        ({"device": "tpu"}, "device: expected auto, cpu, cuda or cuda:<index>, got 'tpu'"),
        ({"host": "192.0.2.1"}, "port: cannot listen on 192.0.2.1:0; Cannot assign requested address"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
    ],
)
def test_what_keeps_workers_from_starting_is_one_clear_line(
    repository: Path, settings: dict[str, object], message: str
) -> None:
    result = run_command(*flags(**({"repository": repository, "workers": 2} | settings)))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"latentry-server: {message}"
    assert "Traceback" not in result.stderr


def test_a_port_that_workers_share_is_not_shared_with_another_server(repository: Path) -> None:
    with two_workers(repository) as (_, address, _lines):
        for workers in (1, 2):
            port = address.rpartition(":")[2]
            result = run_command(*flags(repository=repository, port=port, workers=workers))
            assert result.returncode == 1
            assert result.stderr.splitlines()[-1] == (
                f"latentry-server: port: cannot listen on {address}; is the port taken?"
            )
    with process(repository=repository) as (_, address, _lines):
        result = run_command(*flags(repository=repository, port=address.rpartition(":")[2], workers=2))
        assert result.returncode == 1


def test_a_signal_while_workers_start_ends_them(repository: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, *flags(repository=repository, workers=2)], stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            asyncio.run(until(lambda: len(children(running.pid)) == 2))
            running.terminate()
            assert running.wait(30) == 0
        finally:
            running.kill()
