"""What keeps one caller from harming the others: shares of the queue, limits on calls, streams and connections."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry_server import listening
from latentry_server.settings import Settings

from tests.server.bundles import Autoencoder, images
from tests.server.repositories import until
from tests.server.serving import array, details, rich_status, serve, tensor

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def encode(seed: int = 0) -> messages.EncodeRequest:
    return messages.EncodeRequest(model="stacked", inputs=tensor(images(1, seed=seed)))


async def test_one_connection_cannot_fill_the_queue(repository: Path) -> None:
    """Of sixteen rows that may wait, a flood gets eight; the rest of it is told when to come back."""
    limits = {"max_batch_rows": 16, "max_queue_rows": 16, "max_request_rows": 16, "max_delay_ms": 1_000}
    async with serve(repository, **limits) as served:
        flood = [asyncio.ensure_future(served.inference.Encode(encode(seed))) for seed in range(12)]
        await asyncio.wait(flood, return_when=asyncio.FIRST_EXCEPTION)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.server.port}", options=OWN_CONNECTION) as channel:
            response = await InferenceServiceStub(channel).Encode(encode(99))
        np.testing.assert_allclose(array(response.codings), Autoencoder().encode(images(1, seed=99)), atol=1e-5)
        errors = [
            end for end in await asyncio.gather(*flood, return_exceptions=True) if isinstance(end, grpc.aio.AioRpcError)
        ]
    assert len(errors) == 4
    for error in errors:
        assert_refused(error, "this client's share of the queue (16 rows) is full; try again in")


@contextmanager
def silent_connections(port: int, count: int) -> Iterator[None]:
    """Connect and say nothing; every second one has said that it speaks HTTP/2."""
    with ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            if number % 2:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        yield


async def test_clients_that_connect_and_say_nothing_do_no_harm(repository: Path) -> None:
    async with serve(repository) as served:
        with silent_connections(served.server.port, 200):
            for seed in range(20):
                response = await served.inference.Encode(encode(seed))
                np.testing.assert_allclose(
                    array(response.codings), Autoencoder().encode(images(1, seed=seed)), atol=1e-5
                )
        await served.inference.Encode(encode())


def assert_refused(error: grpc.aio.AioRpcError, message: str) -> None:
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rich_status(error)
    assert status.message.startswith(message)
    found = details(status)
    assert found["ErrorInfo"].reason == "QUEUE_FULL"
    assert found["RetryInfo"].retry_delay.ToNanoseconds() > 0


async def test_calls_in_flight_are_limited_and_probes_are_not(repository: Path) -> None:
    async with serve(repository, max_calls=2, max_delay_ms=60_000) as served:
        waiting = [asyncio.ensure_future(served.inference.Encode(encode())) for _ in range(2)]
        await until(lambda: served.server._drain._in_flight == 2)
        for refused in (
            served.inference.Encode(encode()),
            served.models.ListModels(model_service_pb2.ListModelsRequest()),
            served.inference.Stream().read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await refused
            assert_refused(caught.value, "2 calls are in flight; try again in")
        health = await HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for call in waiting:
            call.cancel()
        await until(lambda: not served.server._drain._in_flight)
        assert await served.models.ListModels(model_service_pb2.ListModelsRequest())


async def test_streams_are_limited_and_other_calls_go_on(repository: Path) -> None:
    async with serve(repository, max_streams=1) as served:
        stream = served.inference.Stream()
        await stream.write(messages.StreamRequest(request_id="a", encode=encode()))
        await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.inference.Stream().read()
        assert_refused(caught.value, "1 streams are open; try again in")
        await served.inference.Encode(encode())
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        again = served.inference.Stream()
        await again.write(messages.StreamRequest(request_id="a", encode=encode()))
        assert (await again.read()).HasField("encode")
        again.cancel()


async def test_watches_are_limited_and_one_that_ends_makes_room(repository: Path) -> None:
    async with serve(repository, max_streams=1) as served:
        stub, serving = HealthStub(served.channel), health_pb2.HealthCheckResponse.SERVING
        watching = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == serving
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert_refused(caught.value, "1 health watches are open; try again in 0.250 s")
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == serving
        watching.cancel()
        await until(lambda: not served.server._health._num_watches)
        assert (await stub.Watch(health_pb2.HealthCheckRequest()).read()).status == serving


async def test_connections_are_limited(repository: Path) -> None:
    async with serve(repository, max_connections=2) as served:
        address = f"127.0.0.1:{served.server.port}"
        first, second, third = (grpc.aio.insecure_channel(address, options=OWN_CONNECTION) for _ in range(3))
        for channel in (first, second):
            await InferenceServiceStub(channel).Encode(encode())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await InferenceServiceStub(third).Encode(encode())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await InferenceServiceStub(first).Encode(encode())
        await first.close()
        await InferenceServiceStub(third).Encode(encode(), wait_for_ready=True, timeout=60)
        await second.close()
        await third.close()


class Relay:
    """Stands between a client and a server, and stops passing anything on when told to: a cable that is pulled."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pumps: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.stall()
        for writer in self._writers:
            writer.close()
        self._server.close()

    def stall(self) -> None:
        for pump in self._pumps:
            pump.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._pumps.append(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            sink.write(chunk)


async def test_the_calls_of_a_caller_who_vanished_end(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_PING_TIMEOUT_MS", 100)
    async with serve(repository, keepalive_s=0.1) as served, Relay(served.server.port) as relay:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}", options=OWN_CONNECTION)
        stream = InferenceServiceStub(channel).Stream()
        await stream.write(messages.StreamRequest(request_id="a", encode=encode()))
        await stream.read()
        await asyncio.sleep(0.5)  # pings that are answered disturb nobody
        assert served.server._drain._in_flight == 1
        relay.stall()
        await until(lambda: not served.server._drain._in_flight)
        stream.cancel()
        await channel.close()


async def test_connections_that_grow_old_are_replaced_without_an_error(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(repository, max_connection_age_s=0.1, drain_timeout_s=10) as served:
        with caplog.at_level(logging.DEBUG, logger="latentry_server.transport.calls"):
            for seed in range(60):
                await served.inference.Encode(encode(seed))
                await asyncio.sleep(0.01)
    connections = {record.getMessage().rpartition(" ")[2] for record in caplog.records if "Encode" in record.message}
    assert len(connections) > 1


async def test_calls_that_begin_as_their_connection_is_closed_are_answered(repository: Path) -> None:
    async with serve(repository, max_connection_age_s=0.1, drain_timeout_s=10) as served:
        address = f"127.0.0.1:{served.server.port}"

        async def call(seed: int) -> None:
            rng = np.random.default_rng(seed)
            async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
                for _ in range(60):
                    await asyncio.sleep(rng.uniform(0, 0.03))
                    await InferenceServiceStub(channel).Encode(encode(), timeout=20)

        await asyncio.gather(*map(call, range(16)))


def test_idle_connections_are_left_alone() -> None:
    """gRPC loses calls that begin as it closes one: see docs/decisions/0021-idle-connections-stay.md."""
    assert "grpc.max_connection_idle_ms" not in dict(listening.channel_options(Settings()))


@pytest.mark.parametrize(("min_ping_interval_s", "goes_on"), [(60, False), (0.001, True)])
async def test_who_pings_too_often_loses_the_connection(
    repository: Path, min_ping_interval_s: float, goes_on: bool
) -> None:
    pings = (
        ("grpc.keepalive_time_ms", 20),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # no limit of the client's own
    )
    async with serve(repository, min_ping_interval_s=min_ping_interval_s) as served:
        address = f"127.0.0.1:{served.server.port}"
        async with grpc.aio.insecure_channel(address, options=(*OWN_CONNECTION, *pings)) as channel:
            await InferenceServiceStub(channel).Encode(encode())
            ready = grpc.ChannelConnectivity.READY
            assert channel.get_state() is ready
            try:
                await asyncio.wait_for(channel.wait_for_state_change(ready), 1 if goes_on else 60)
            except TimeoutError:
                assert goes_on
            else:
                assert not goes_on
