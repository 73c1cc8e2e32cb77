import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry_server.errors import InvalidInputError, ShuttingDownError
from latentry_server.transport.drain import Drain
from latentry_server.transport.stream import RequestStream

from tests.server.bundles import Autoencoder, images
from tests.server.serving import Served, array, details, rich_status, serve, tensor


def encode(request_id: str, seed: int = 0, **fields: Any) -> messages.StreamRequest:
    given: dict[str, Any] = {"model": "stacked", "inputs": tensor(images(2, seed=seed))} | fields
    return messages.StreamRequest(request_id=request_id, encode=messages.EncodeRequest(**given))


async def answers(served: Served, *requests: messages.StreamRequest) -> dict[str, messages.StreamResponse]:
    call = served.inference.Stream(iter(requests))
    return {response.request_id: response async for response in call}


async def test_many_requests_are_answered_by_their_ids(served: Served) -> None:
    requests = [encode(f"request {seed}", seed) for seed in range(200)]
    found = await answers(served, *requests)
    assert len(found) == 200
    for seed in range(200):
        expected = Autoencoder().encode(images(2, seed=seed))
        np.testing.assert_allclose(array(found[f"request {seed}"].encode.codings), expected, atol=1e-5)


async def test_every_operation_can_be_streamed(served: Served) -> None:
    inputs = tensor(images(1))
    seed = messages.Source(seeds=messages.Seeds(values=[1]))
    requests: dict[str, Any] = {
        "encode": messages.EncodeRequest(model="stacked", inputs=inputs),
        "decode": messages.DecodeRequest(model="gan", codings=tensor(np.zeros((1, 3), np.float32))),
        "denoise": messages.DenoiseRequest(model="stacked", inputs=inputs),
        "reconstruct": messages.ReconstructRequest(model="stacked", inputs=inputs),
        "sample": messages.SampleRequest(model="gan", count=1),
        "interpolate": messages.InterpolateRequest(model="gan", start=seed, end=seed, steps=2),
        "score": messages.ScoreRequest(model="stacked", inputs=inputs),
        "style_mix": messages.StyleMixRequest(model="stylegan", rows=seed, columns=seed, layers=[0]),
        "classify": messages.ClassifyRequest(model="classifier", inputs=inputs),
    }
    assert set(requests) == {field.name for field in messages.StreamRequest.DESCRIPTOR.oneofs[0].fields}
    found = await answers(
        served, *(messages.StreamRequest(request_id=name, **{name: request}) for name, request in requests.items())
    )
    assert {name: response.WhichOneof("response") for name, response in found.items()} == {n: n for n in requests}


async def test_an_error_is_the_result_of_its_request_alone(served: Served) -> None:
    bad = encode("bad", inputs=tensor(images(1) * np.float32(math.nan)))
    found = await answers(served, encode("before"), bad, encode("unknown", model="nothing"), encode("after"))
    assert found["before"].HasField("encode")
    assert found["after"].HasField("encode")
    assert found["bad"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert details(found["bad"].error)["BadRequest"].field_violations[0].field == "inputs.data"
    assert details(found["unknown"].error)["ErrorInfo"].reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (encode(""), "request_id"),
        (encode("x" * 129), "request_id"),
        (messages.StreamRequest(request_id="x"), "request"),
    ],
)
async def test_a_request_without_id_or_operation_ends_the_stream_after_those_before(
    served: Served, request_: messages.StreamRequest, field: str
) -> None:
    call = served.inference.Stream(iter([encode("before"), request_, encode("after")]))
    assert (await call.read()).request_id == "before"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(rich_status(caught.value))["BadRequest"].field_violations[0].field == field


async def test_a_request_that_cannot_be_read_ends_the_stream_after_those_before(served: Served) -> None:
    stream: Any = served.channel.stream_stream(
        "/latentry.v1.InferenceService/Stream", response_deserializer=messages.StreamResponse.FromString
    )
    call = stream(iter([encode("before").SerializeToString(), b"\xff\xff\xff not a message"]), timeout=30)
    assert (await call.read()).request_id == "before"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(rich_status(caught.value))["BadRequest"].field_violations[0].field == "request"


async def test_an_id_may_be_used_again_once_it_is_answered(served: Served) -> None:
    call = served.inference.Stream()
    for _ in range(50):
        await call.write(encode("again"))
        assert (await call.read()).request_id == "again"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_an_id_in_use_is_refused(repository: Path) -> None:
    async with serve(repository, max_delay_ms=100) as served:
        call = served.inference.Stream(iter([encode("twice"), encode("twice")]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            assert [response.request_id async for response in call] == ["twice"]
        assert "an id that no request in flight has, got 'twice'" in str(caught.value.details())


async def test_cancelling_a_stream_leaves_others_right(repository: Path) -> None:
    async with serve(repository, max_delay_ms=20) as served:
        gone = served.inference.Stream()
        for number in range(20):
            await gone.write(encode(str(number)))
        staying = asyncio.ensure_future(answers(served, *(encode(str(seed), seed) for seed in range(20))))
        await asyncio.sleep(0.01)
        gone.cancel()
        for seed, response in (await staying).items():
            np.testing.assert_allclose(
                array(response.encode.codings), Autoencoder().encode(images(2, seed=int(seed))), atol=1e-5
            )


# RequestStream itself, its work and its writing held by the test


class Held:
    """Answers and writes when the test lets it, and remembers what it saw."""

    def __init__(self, max_in_flight: int) -> None:
        self.drain = Drain(max_calls=1, max_streams=1)
        self.read = 0
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.written: list[str] = []
        self.work = asyncio.Event()
        self.writing = asyncio.Event()
        self.stream = RequestStream(self._answer, self._write, drain=self.drain, max_in_flight=max_in_flight)

    async def requests(self, count: int, *, then: asyncio.Event | None = None) -> AsyncIterator[messages.StreamRequest]:
        for number in range(count):
            self.read += 1
            yield encode(str(number))
        if then is not None:
            await then.wait()

    async def _answer(self, request: messages.StreamRequest) -> messages.StreamResponse:
        self.started.append(request.request_id)
        try:
            await self.work.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.request_id)
            raise
        return messages.StreamResponse(request_id=request.request_id)

    async def _write(self, response: messages.StreamResponse) -> None:
        await self.writing.wait()
        self.written.append(response.request_id)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_in_flight_are_bounded_and_run_at_the_same_time() -> None:
    held = Held(max_in_flight=4)
    running = asyncio.create_task(held.stream.run(held.requests(50)))
    await settle()
    assert len(held.started) == 4
    held.work.set()
    held.writing.set()
    await running
    assert sorted(held.written, key=int) == [str(number) for number in range(50)]


async def test_a_client_that_stops_reading_soon_has_no_more_requests_read() -> None:
    held = Held(max_in_flight=4)
    held.work.set()  # all work is done at once, but nothing can be written
    running = asyncio.create_task(held.stream.run(held.requests(50)))
    await settle()
    assert len(held.started) == 4
    assert held.read <= 6  # those in flight, one that waits and one that was just read
    held.writing.set()
    await running
    assert len(held.written) == 50


async def test_a_client_that_stops_reading_does_not_fill_the_servers_memory(repository: Path) -> None:
    """Of many answers of 256 KiB, few are made before they are read; and then all are."""
    labels = {"grpc_type": "bidi_stream", "grpc_service": "latentry.v1.InferenceService", "grpc_method": "Stream"}
    async with serve(repository, max_stream_requests=8, max_queue_rows=2**18) as served:

        def num_received() -> float:
            return served.server.registry.get_sample_value("grpc_server_msg_received_total", labels) or 0

        sample = messages.SampleRequest(model="gan", count=4096, seed=1)
        requests = [messages.StreamRequest(request_id=str(number), sample=sample) for number in range(200)]
        stream = served.inference.Stream(iter(requests))
        before = -1.0
        while num_received() != before or before < 8:  # until nothing more is read
            before = num_received()
            await asyncio.sleep(0.2)
        assert before < 100
        answered = {response.request_id async for response in stream if response.HasField("sample")}
        assert answered == {request.request_id for request in requests}


async def test_cancellation_cancels_the_work() -> None:
    held = Held(max_in_flight=4)
    running = asyncio.create_task(held.stream.run(held.requests(3)))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(held.cancelled) == ["0", "1", "2"]


@pytest.mark.parametrize("max_in_flight", [3, 4])
async def test_a_drain_answers_what_was_read_and_then_ends_the_stream(max_in_flight: int) -> None:
    held = Held(max_in_flight=max_in_flight)
    held.writing.set()
    more = asyncio.Event()
    running = asyncio.create_task(held.stream.run(held.requests(3, then=more)))
    await settle()
    held.drain.start()
    await settle()
    assert not running.done()
    held.work.set()
    with pytest.raises(ShuttingDownError):
        await running
    assert sorted(held.written) == ["0", "1", "2"]
    more.set()
    await settle()


async def test_a_refused_request_ends_the_stream_after_the_answers_before_it() -> None:
    held = Held(max_in_flight=4)
    held.work.set()
    held.writing.set()

    async def requests() -> AsyncIterator[messages.StreamRequest]:
        yield encode("good")
        yield encode("")
        yield encode("never")

    with pytest.raises(InvalidInputError, match="request_id"):
        await held.stream.run(requests())
    assert held.written == ["good"]
