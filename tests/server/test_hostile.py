"""Whatever is sent: no answer but an OK or a status that says whose fault it was, and the neighbours notice nothing.

A few hundred requests each; `pytest tests/server/test_hostile.py --hypothesis-profile=many` sends thousands.
"""

import asyncio
import functools
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from latentry.v1 import inference_service_pb2

from tests.server.bundles import Autoencoder, Flat, images
from tests.server.hostile import STREAMS, UNARY, mangled, requests_of
from tests.server.serving import Served, array, details, rich_status, serve, tensor

CALLERS_FAULTS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    # What one test unloads another one calls.
    grpc.StatusCode.UNAVAILABLE,
    # The Open Inference Protocol's `timeout` may be any.
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # What it has and we do not offer.
    grpc.StatusCode.UNIMPLEMENTED,
}
NEIGHBOUR = "neighbour"
PROFILE = settings.get_current_profile_name()
MANY = settings(
    max_examples=max(200, settings.get_profile(PROFILE).max_examples),
    deadline=None,
    database=None,
    derandomize=PROFILE != "many",
    suppress_health_check=list(HealthCheck),
)


class Target:
    """A server in this process, called with bytes, while a neighbour's every answer is checked."""

    def __init__(self, served: Served, blocking: grpc.Channel, runner: asyncio.Runner) -> None:
        self._served = served
        self._blocking = blocking
        self._runner = runner
        self.seen: set[grpc.StatusCode] = set()

    def hold(self, *attacks: Callable[[], Awaitable[None]]) -> None:
        """Attack in several ways at a time, and be a good neighbour meanwhile."""

        async def all_at_once() -> None:
            await asyncio.gather(*(attack() for attack in attacks), self._be_neighbour())

        self._runner.run(all_at_once())

    async def unary(self, method: MethodDescriptor, content: bytes) -> None:
        """Call a method."""
        call: Any = self._served.channel.unary_unary(path(method), request_serializer=bytes)
        try:
            await call(content, timeout=30)
        except grpc.aio.AioRpcError as error:
            self._judge(method, error)
        else:
            self.seen.add(grpc.StatusCode.OK)

    async def stream(self, method: MethodDescriptor, contents: list[bytes]) -> None:
        """Send a stream's requests and read all of its responses, the errors in them, too."""
        await asyncio.to_thread(self._stream, method, contents)

    def _stream(self, method: MethodDescriptor, contents: list[bytes]) -> None:
        # By the blocking client: the other one says INTERNAL by itself where a stream ends while it still sends.
        read: Any = GetMessageClass(method.output_type).FromString
        call = self._blocking.stream_stream(path(method), request_serializer=bytes, response_deserializer=read)
        try:
            for response in call(iter(contents), timeout=30):
                if isinstance(response, inference_service_pb2.StreamResponse):
                    assert response.error.code in {0, *(code.value[0] for code in CALLERS_FAULTS)}, response
                else:
                    assert not re.search("internal error|failed", response.error_message), response
                self.seen.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            self._judge(method, error)

    def _judge(self, method: MethodDescriptor, error: Any) -> None:
        assert error.code() in CALLERS_FAULTS, (method.name, error)
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            assert details(rich_status(error))["ErrorInfo"].domain == "latentry"
        self.seen.add(error.code())

    async def _be_neighbour(self) -> None:
        vectors = images(2).reshape(2, -1)
        request = inference_service_pb2.EncodeRequest(model=NEIGHBOUR, inputs=tensor(vectors))
        response = await self._served.inference.Encode(request)
        np.testing.assert_allclose(array(response.codings), Autoencoder().encode(vectors), atol=1e-5)


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@pytest.fixture
def target(repository: Path, tmp_path: Path) -> Iterator[Target]:
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    Flat().write(tmp_path, NEIGHBOUR)
    with asyncio.Runner() as runner:
        serving = serve(tmp_path)
        served = runner.run(serving.__aenter__())
        try:
            with grpc.insecure_channel(f"127.0.0.1:{served.server.port}") as blocking:
                yield Target(served, blocking, runner)
        finally:
            runner.run(serving.__aexit__(None, None, None))


def whole(method: MethodDescriptor) -> st.SearchStrategy[bytes]:
    return requests_of(method).map(lambda request: request.SerializeToString())


@functools.cache
def calls(method: MethodDescriptor) -> st.SearchStrategy[tuple[MethodDescriptor, bytes]]:
    return st.tuples(st.just(method), whole(method))


@functools.cache
def mangled_calls(method: MethodDescriptor) -> st.SearchStrategy[tuple[MethodDescriptor, bytes]]:
    return st.tuples(st.just(method), mangled(method))


@functools.cache
def streams(method: MethodDescriptor) -> st.SearchStrategy[tuple[MethodDescriptor, list[bytes]]]:
    return st.tuples(st.just(method), st.lists(whole(method) | whole(method) | mangled(method), max_size=4))


def test_messages_that_fit_the_schema(target: Target) -> None:
    @MANY
    @given(st.lists(st.sampled_from(UNARY).flatmap(calls), min_size=1, max_size=3))
    def attack(some: list[tuple[MethodDescriptor, bytes]]) -> None:
        target.hold(*(functools.partial(target.unary, *call) for call in some))

    attack()
    assert target.seen >= {grpc.StatusCode.OK, *CALLERS_FAULTS} - {grpc.StatusCode.DEADLINE_EXCEEDED}


def test_bytes_that_fit_nothing(target: Target) -> None:
    @MANY
    @given(st.lists(st.sampled_from(UNARY).flatmap(mangled_calls), min_size=1, max_size=3))
    def attack(some: list[tuple[MethodDescriptor, bytes]]) -> None:
        target.hold(*(functools.partial(target.unary, *call) for call in some))

    attack()
    assert target.seen >= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


def test_streams(target: Target) -> None:
    @MANY
    @given(st.sampled_from(STREAMS).flatmap(streams))
    def attack(stream: tuple[MethodDescriptor, list[bytes]]) -> None:
        target.hold(functools.partial(target.stream, *stream))

    attack()
    assert target.seen >= {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
