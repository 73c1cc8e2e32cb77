"""The command, a real process; and what the whole server does around its calls."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry_server import app, ports
from latentry_server.settings import Settings

from tests.server.bundles import Autoencoder, Gan, images
from tests.server.command import flags, free_port, get, process, run_command
from tests.server.repositories import HookedRuntime
from tests.server.serving import array, details, rich_status, serve, tensor


def encode(seed: int = 0) -> messages.EncodeRequest:
    return messages.EncodeRequest(model="stacked", inputs=tensor(images(3, seed=seed)))


# Start


async def test_the_command_serves_and_says_where_and_what(repository: Path) -> None:
    with process(repository=repository) as (running, address, lines):
        models = "cgan/1, classifier/1, cstylegan/1, dcgan/1, flat/1, gan/1, stacked/1, stylegan/1, vae/1"
        assert any(f"models on cpu: {models}" in line for line in lines)
        async with grpc.aio.insecure_channel(address) as channel:
            response = await InferenceServiceStub(channel).Encode(encode())
        np.testing.assert_allclose(array(response.codings), Autoencoder().encode(images(3)), atol=1e-5)
        running.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(running.wait, 30) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 70000}, "port: expected 0 to 65535, got 70000"),
        ({"repository": "nowhere"}, "repository: expected a readable folder, got nowhere: No such file or directory"),
        ({"repository": "nonsense://models"}, "repository: Protocol not known: nonsense"),
        (
            {"repository": "memory://models", "cache_dir": f"{os.devnull}/x"},
            "cache_dir: cannot be used: Not a directory",
        ),
        ({"device": "tpu"}, "device: expected auto, cpu, cuda or cuda:<index>, got 'tpu'"),
        ({"token_file": "nowhere"}, "token_file: cannot read nowhere: No such file or directory"),
        ({"token_file": os.devnull}, "token_file: expected a token a line, got an empty file"),
        (
            {"tls_cert_file": "nowhere", "tls_key_file": os.devnull},
            "tls_cert_file: cannot read nowhere: No such file or directory",
        ),
        (
            {"tls_cert_file": os.devnull, "tls_key_file": os.devnull},
            "tls_cert_file: expected a certificate and, in tls_key_file, its key, PEM, got /dev/null and /dev/null",
        ),
    ],
)
def test_what_keeps_it_from_starting_is_one_clear_line(
    repository: Path, settings: dict[str, object], message: str
) -> None:
    result = run_command(*flags(**({"repository": repository} | settings)))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"latentry-server: {message}"
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_not_shared(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name, message in (
            ("port", f"port: cannot listen on 127.0.0.1:{port}; is the port taken?"),
            ("metrics_port", f"metrics_port: cannot listen on 127.0.0.1:{port}: Address already in use"),
        ):
            result = run_command(*flags(repository=repository, **{name: port}))
            assert result.returncode == 1
            assert result.stderr.splitlines()[-1] == f"latentry-server: {message}"
    with process(repository=repository) as (_, address, _lines):
        result = run_command(*flags(repository=repository, port=address.rpartition(":")[2]))
        assert result.returncode == 1, "two servers must not share a port"


# Health command


def test_the_health_command_tells_by_its_exit_code(repository: Path) -> None:
    with process(repository=repository) as (_, address, _lines):
        for arguments, code, answer in (
            ((), 0, "SERVING"),
            (("--service", "vae/1"), 0, "SERVING"),
            (("--service", "nothing"), 1, "NOT_FOUND: no such service"),
        ):
            result = run_command("health", "--address", address, *arguments)
            assert (result.returncode, result.stdout.strip()) == (code, answer)
    result = run_command("health", "--address", address, "--timeout-s", "1")
    assert result.returncode == 1
    assert "UNAVAILABLE" in result.stdout


def test_the_health_command_imports_no_runtime() -> None:
    code = (
        "import sys; from latentry_server.cli import command;"
        "command(['health', '--address', 'localhost:1', '--timeout-s', '0.1'], result_action='return_value');"
        "print(sorted({'numpy', 'onnxruntime', 'uvloop'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


# Shutdown


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_under_load_answers_every_call_that_was_let_in(repository: Path, workers: int) -> None:
    """Every call ends with the right answer or with UNAVAILABLE, and the process with 0."""
    with process(repository=repository, workers=workers, max_delay_ms=5) as (running, address, _):
        async with AsyncExitStack() as opened:
            options = [("grpc.use_local_subchannel_pool", 1)]
            channels = [
                await opened.enter_async_context(grpc.aio.insecure_channel(address, options)) for _ in range(16)
            ]
            answered = 0

            async def caller(first_seed: int) -> grpc.aio.AioRpcError:
                nonlocal answered
                seed, stub = first_seed, InferenceServiceStub(channels[first_seed])
                while True:
                    try:
                        response = await stub.Encode(encode(seed))
                    except grpc.aio.AioRpcError as error:
                        return error
                    np.testing.assert_allclose(
                        array(response.codings), Autoencoder().encode(images(3, seed=seed)), atol=1e-5
                    )
                    answered += 1
                    seed += 1000

            callers = [asyncio.ensure_future(caller(seed)) for seed in range(16)]
            while answered < 100:  # noqa: ASYNC110 - counts what other tasks do
                await asyncio.sleep(0.01)
            running.terminate()
            ends = await asyncio.wait_for(asyncio.gather(*callers), 60)
        assert {error.code() for error in ends} == {grpc.StatusCode.UNAVAILABLE}
        assert await asyncio.to_thread(running.wait, 30) == 0


async def test_calls_that_wait_in_the_queue_are_answered_and_new_ones_refused(repository: Path) -> None:
    async with serve(repository, max_delay_ms=500) as served:
        waiting = [asyncio.ensure_future(served.inference.Encode(encode(seed))) for seed in range(10)]
        stream = served.inference.Stream()
        await stream.write(messages.StreamRequest(request_id="waiting", encode=encode(3)))
        await asyncio.sleep(0.1)  # long enough to arrive, short enough to wait
        stopping = asyncio.ensure_future(served.server.stop())
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.inference.Encode(encode())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details(rich_status(caught.value))["ErrorInfo"].reason == "SHUTTING_DOWN"
        assert (await stream.read()).HasField("encode")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        for seed, response in enumerate(await asyncio.gather(*waiting)):
            np.testing.assert_allclose(array(response.codings), Autoencoder().encode(images(3, seed=seed)), atol=1e-5)
        await stopping


async def test_a_drain_ends_when_its_time_is_over(repository: Path) -> None:
    async with serve(repository, max_delay_ms=3_000, drain_timeout_s=0.05) as served:
        waiting = asyncio.ensure_future(served.inference.Encode(encode()))
        await asyncio.sleep(0.1)
        await served.server.stop()
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting


async def test_a_signal_during_the_start_loads_no_further_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        Gan().write(tmp_path, name)
    opening, gate = threading.Event(), threading.Event()
    opened: list[None] = []

    def wait() -> None:
        opening.set()
        assert gate.wait(60)
        opened.append(None)

    monkeypatch.setattr(app, "OnnxRuntime", lambda **_: HookedRuntime(wait))
    settings = Settings(repository=str(tmp_path), port=0, metrics_port=0, drain_refuse_s=0, load_timeout_s=0)
    running = asyncio.create_task(app.run(settings))
    assert await asyncio.to_thread(opening.wait, 60)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)
    gate.set()
    async with asyncio.timeout(60):
        await running
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:5"), ("localhost", "localhost:5"), ("::1", "[::1]:5"), ("::", "[::]:5")],
)
def test_an_ipv6_address_is_bracketed(host: str, address: str) -> None:
    assert ports.address(host, 5) == address


# Metrics


async def test_prometheus_sees_the_calls(repository: Path) -> None:
    port = free_port()
    async with serve(repository, metrics_port=port) as served:
        await served.inference.Encode(encode())
        with pytest.raises(grpc.aio.AioRpcError):
            await served.inference.Encode(messages.EncodeRequest(model="nothing"))
        call = served.inference.Stream(
            iter([messages.StreamRequest(request_id=str(number), encode=encode()) for number in range(5)])
        )
        assert len([response async for response in call]) == 5
        await served.inference.Classify(messages.ClassifyRequest(model="classifier", inputs=encode().inputs))
        text = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics")
    unary = 'grpc_method="Encode",grpc_service="latentry.v1.InferenceService",grpc_type="unary"'
    stream = 'grpc_method="Stream",grpc_service="latentry.v1.InferenceService",grpc_type="bidi_stream"'
    for line in (
        f"grpc_server_started_total{{{unary}}} 2.0",
        f'grpc_server_handled_total{{grpc_code="OK",{unary}}} 1.0',
        f'grpc_server_handled_total{{grpc_code="NOT_FOUND",{unary}}} 1.0',
        f"grpc_server_handling_seconds_count{{{unary}}} 2.0",
        f"grpc_server_msg_received_total{{{unary}}} 2.0",
        f"grpc_server_msg_sent_total{{{unary}}} 1.0",
        f'grpc_server_handled_total{{grpc_code="OK",{stream}}} 1.0',
        f"grpc_server_msg_received_total{{{stream}}} 5.0",
        f"grpc_server_msg_sent_total{{{stream}}} 5.0",
        'latentry_queue_seconds_count{graph="encoder",model="stacked",version="1"} 6.0',
        f'grpc_server_handled_total{{grpc_code="OK",{unary.replace("Encode", "Classify")}}} 1.0',
        'latentry_batch_rows_count{graph="classifier",model="classifier",version="1"} 1.0',
    ):
        assert line in text.splitlines(), line
