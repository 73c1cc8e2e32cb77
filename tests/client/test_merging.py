"""Concurrent calls travel together, and nobody notices: the pool by itself, and both clients against a real server."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latentry_client import AsyncClient, Client, exceptions, requests
from latentry_client.chunking import ChunkLimits
from latentry_client.merging import MIN_IN_FLIGHT, Batch, Call, Pools, merge, split
from opentelemetry import trace

from tests.client.plain_service import PlainService, classified, decoded, encoded

if TYPE_CHECKING:
    from latentry.v1 import inference_service_pb2 as pb
    from latentry_client.request import RowRequest

CONTEXT = exceptions.CallContext("Decode")


def sent_rows(service: PlainService) -> list[int]:
    return [len(request.inputs.shape) and request.inputs.shape[0] for request in service.requests]


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110 - what a server's thread has seen sets no event
            await asyncio.sleep(0.001)


def wait_until(is_true: Callable[[], bool]) -> None:
    asyncio.run(until(is_true))


@pytest.fixture
async def async_client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address, max_attempts=1) as client:
        yield client


@pytest.fixture
async def busy(async_client: AsyncClient, service: PlainService, images: np.ndarray) -> AsyncIterator[AsyncClient]:
    """As many calls of `gated` as may go at once are on their way, so that all others gather."""
    calls = [asyncio.create_task(async_client.encode("gated", images[:1])) for _ in range(MIN_IN_FLIGHT)]
    await until(lambda: len(service.requests) == MIN_IN_FLIGHT)
    yield async_client
    service.gate.release(1000)
    await asyncio.gather(*calls, return_exceptions=True)


# The pool.


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(9, 40), st.integers(2, 8), st.integers(0, 99))
def test_a_pool_keeps_order_and_bounds(counts: list[int], max_rows: int, max_in_flight: int, seed: int) -> None:
    random = Random(seed)
    pools: Pools[Future[Any]] = Pools(ChunkLimits(max_rows=max_rows), max_in_flight=max_in_flight)
    calls = [Call(cast("RowRequest[Any]", requests.encode("m", np.zeros((n, 4)))), Future[Any](), 0) for n in counts]
    pool = pools.of(calls[0].request)
    assert pool is not None
    taken: list[Call[Future[Any]]] = []
    in_flight: list[Batch[Future[Any]]] = []
    num_added = 0
    while len(taken) < len(calls) or in_flight:
        added = calls[num_added : num_added + random.randint(0, 20)]
        num_added += len(added)
        for call in added:
            assert pools.of(call.request) is pool
            pool.add(call)
        while batch := pool.take():
            taken += batch.calls
            in_flight.append(batch)
            assert len(in_flight) <= max_in_flight
            assert batch.request().rows == sum(call.request.rows for call in batch.calls) <= max_rows
        assert num_added == len(taken) or len(in_flight) >= MIN_IN_FLIGHT
        if in_flight:
            pool.finish(in_flight.pop(random.randrange(len(in_flight))))
    assert taken == calls
    assert pool.is_empty


@pytest.mark.parametrize(("compute_us", "taken"), [(100, [20]), (10_000, [5, 5, 5, 5])])
def test_only_what_takes_long_is_spread_over_requests(compute_us: int, taken: list[int]) -> None:
    pools: Pools[Future[Any]] = Pools(ChunkLimits(), max_in_flight=4)
    request = cast("RowRequest[Any]", requests.encode("plain", np.zeros((1, 1, 4, 4))))
    pool = pools.of(request)
    assert pool is not None

    def take(count: int) -> list[Batch[Future[Any]]]:
        for _ in range(count):
            pool.add(Call(request, Future[Any](), 0))
        return list(iter(pool.take, None))

    (first,) = take(2)  # nothing is known of the cost yet
    response = PlainService().compute(cast("pb.EncodeRequest", first.request().whole()))
    response.run.compute_us = compute_us
    pool.answered(first, response)
    assert [batch.request().rows for batch in take(20)] == taken


def test_only_what_fits_is_merged() -> None:
    pools: Pools[Future[Any]] = Pools(ChunkLimits(max_rows=100, max_bytes=40), max_in_flight=2)
    for rows, fits in ((0, False), (1, True), (2, True), (3, False)):
        request = cast("RowRequest[Any]", requests.encode("plain", np.zeros((rows, 4), np.float32)))
        assert (pools.of(request) is not None) == fits
    bytes_ = cast("RowRequest[Any]", requests.encode("plain", np.zeros((10, 4), np.uint8)))
    assert pools.of(bytes_) is not None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.booleans())
def test_a_merged_result_is_split_as_it_was_merged(counts: list[int], has_labels: bool) -> None:
    codings = np.random.default_rng(0).random((sum(counts), 2), np.float32)
    starts = np.cumsum([0, *counts[:-1]])
    parts = [
        requests.decode("plain", codings[start : start + count], labels=range(count) if has_labels else None)
        for start, count in zip(starts, counts, strict=True)
    ]
    merged = merge(cast("list[RowRequest[Any]]", parts))
    response = PlainService().compute(merged.whole())  # type: ignore[arg-type]
    results = split(merged.parse(response), counts, CONTEXT)
    for part, result in zip(parts, results, strict=True):
        alone = part.parse(PlainService().compute(part.whole()))  # type: ignore[arg-type]
        np.testing.assert_array_equal(result.outputs, alone.outputs)
        assert (type(result), result.run) == (type(alone), alone.run)
        assert result.outputs.base is None, "it would keep all others' rows in memory"
        assert result.outputs.flags.writeable


def test_a_result_with_other_rows_is_refused() -> None:
    result = requests.decode("plain", np.zeros((3, 2))).parse(
        PlainService().compute(requests.decode("plain", np.zeros((3, 2))).whole())  # type: ignore[arg-type]
    )
    with pytest.raises(exceptions.BadResponseError, match="outputs of 3 rows for 4"):
        split(result, [2, 2], CONTEXT)


# The client for asyncio.


async def test_calls_gather_while_others_are_on_their_way(
    busy: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    counts = [1, 2, 1, 5, 3] * 8
    ends = np.cumsum(counts)
    calls = [
        asyncio.create_task(busy.encode("gated", images[end - count : end]))
        for end, count in zip(ends, counts, strict=True)
    ]
    await asyncio.sleep(0.05)
    assert sent_rows(service) == [1] * MIN_IN_FLIGHT
    service.gate.release(1000)
    results = await asyncio.gather(*calls)
    np.testing.assert_allclose(np.concatenate([result.codings for result in results]), encoded(images[: ends[-1]]))
    assert [len(result.codings) for result in results] == counts
    assert len(service.requests) <= 2 * MIN_IN_FLIGHT
    assert sum(sent_rows(service)) == MIN_IN_FLIGHT + sum(counts)


async def test_a_lone_call_goes_at_once(async_client: AsyncClient, service: PlainService, images: np.ndarray) -> None:
    for row in range(5):
        await async_client.encode("plain", images[row : row + 1])
    assert sent_rows(service) == [1] * 5


async def test_each_operation_gives_each_caller_its_own(
    async_client: AsyncClient, address: str, service: PlainService, images: np.ndarray
) -> None:
    codings = encoded(images[:20])
    labels = np.arange(20) % 4
    pixels = (images[:20] * 255).astype(np.uint8)

    async def all_of(call: Callable[[int], Any], attribute: str) -> Any:
        results = await asyncio.gather(*(call(row) for row in range(20)))
        return np.concatenate([getattr(result, attribute) for result in results])

    def rows(array: np.ndarray) -> Callable[[int], np.ndarray]:
        return lambda row: array[row : row + 1]

    image, coding, pixel = rows(images), rows(codings), rows(pixels)
    got = await asyncio.gather(
        all_of(lambda row: async_client.encode("variational", image(row)), "log_variance"),
        all_of(lambda row: async_client.hash("plain", image(row)), "codes"),
        all_of(lambda row: async_client.classify("plain", image(row)), "probabilities"),
        all_of(lambda row: async_client.score("calibrated", image(row), labels=[row % 4]), "scores"),
        all_of(lambda row: async_client.decode("plain", coding(row), labels=[row % 4]), "outputs"),
        all_of(lambda row: async_client.decode("plain", coding(row)), "outputs"),
        all_of(lambda row: async_client.decode("plain", coding(row), truncation_psi=0.5), "outputs"),
        all_of(lambda row: async_client.denoise("plain", image(row)), "outputs"),
        all_of(lambda row: async_client.reconstruct("plain", image(row), output_dtype="uint8"), "outputs"),
        all_of(lambda row: async_client.encode("plain", pixel(row)), "codings"),
        all_of(lambda row: async_client.encode("plain", image(row).astype(np.float64)), "codings"),
        all_of(lambda row: async_client.encode("plain", image(row), version=2), "codings"),
    )
    num_requests = len(service.requests)
    assert num_requests <= len(got) * MIN_IN_FLIGHT, "calls were not merged"
    async with AsyncClient(address, merge=False) as alone:
        expected: tuple[Any, ...] = (
            (await alone.encode("variational", images[:20])).log_variance,
            (await alone.hash("plain", images[:20])).codes,
            classified(images[:20]),
            (await alone.score("calibrated", images[:20], labels=labels)).scores,
            decoded(codings + labels[:, None].astype(np.float32) / 10),
            decoded(codings),
            decoded(codings / 2),
            np.round(images[:20]),
            np.round(decoded(codings) * 255),
            encoded(pixels.astype(np.float32) / 255),
            codings,
            codings,
        )
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("options", [{"max_rows": 7}, {"max_bytes": 7 * 64}])
async def test_rows_and_bytes_bound_a_request(
    options: dict[str, Any], address: str, service: PlainService, images: np.ndarray
) -> None:
    async with AsyncClient(address, **options) as client:
        calls = (client.encode("plain", images[row : row + 1]) for row in range(100))
        large = client.encode("plain", images[100:130])
        *results, last = await asyncio.gather(*calls, large)
    np.testing.assert_allclose(np.concatenate([r.codings for r in [*results, last]]), encoded(images[:130]), rtol=1e-6)
    assert max(sent_rows(service)) == 7


async def test_requests_in_flight_are_bounded(address: str, service: PlainService, images: np.ndarray) -> None:
    async with AsyncClient(address, max_rows=1, max_connections=3) as client:
        calls = [asyncio.create_task(client.encode("gated", images[row : row + 1])) for row in range(20)]
        for answered in range(5):
            await until(lambda answered=answered: len(service.requests) == 3 + answered)  # type: ignore[misc]
            await asyncio.sleep(0.01)
            assert len(service.requests) == 3 + answered
            service.gate.release()
        service.gate.release(1000)
        await asyncio.gather(*calls)


async def test_what_is_wrong_with_one_call_is_that_calls_affair(
    busy: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    spoilt = images[:40].copy()
    spoilt[[7, 33]] = 2
    calls = [asyncio.create_task(busy.encode("gated", spoilt[row : row + 1])) for row in range(40)]
    await asyncio.sleep(0.01)
    service.gate.release(1000)
    results = await asyncio.gather(*calls, return_exceptions=True)
    for row, result in enumerate(results):
        if row in (7, 33):
            assert isinstance(result, exceptions.InvalidArgumentError)
            assert str(result) == "Encode of 'gated': inputs: out of range"
        else:
            assert not isinstance(result, BaseException)
            np.testing.assert_allclose(result.codings, encoded(images[row : row + 1]), rtol=1e-6)
    assert len(service.requests) < 30, "it should be found by halving"


async def test_an_answer_that_cannot_be_used_reaches_each(async_client: AsyncClient, images: np.ndarray) -> None:
    calls = (async_client.classify("miscounting", images[row : row + 1]) for row in range(4))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [exceptions.BadResponseError] * 4


@pytest.mark.parametrize("model", ["missing", "incapable", "full", "away", "locked", "forbidden", "absent"])
async def test_errors_that_concern_all_are_not_tried_apart(
    model: str, async_client: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    calls = (async_client.encode(model, images[row : row + 1]) for row in range(40))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert len({type(result) for result in results}) == 1
    assert all(isinstance(result, exceptions.LatentryError) for result in results)
    assert len({id(result) for result in results}) == 40, "raising an exception changes it: each needs its own"
    assert len(service.requests) == MIN_IN_FLIGHT


async def test_merged_requests_are_tried_again(address: str, service: PlainService, images: np.ndarray) -> None:
    service.failures_left["flaky"] = 3
    async with AsyncClient(address) as client:
        results = await asyncio.gather(*(client.encode("flaky", images[row : row + 1]) for row in range(40)))
    np.testing.assert_allclose(np.concatenate([r.codings for r in results]), encoded(images[:40]), rtol=1e-6)
    assert len(service.requests) == MIN_IN_FLIGHT + 3


async def test_a_call_cancelled_in_time_is_not_sent(
    busy: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    calls = [asyncio.create_task(busy.encode("gated", images[row : row + 1])) for row in range(10)]
    await asyncio.sleep(0.01)
    for row in (2, 5):
        calls[row].cancel()
    await asyncio.sleep(0.01)
    service.gate.release(1000)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [row for row, result in enumerate(results) if isinstance(result, asyncio.CancelledError)] == [2, 5]
    assert sum(sent_rows(service)) == MIN_IN_FLIGHT + 8


async def test_a_call_cancelled_on_its_way_takes_nothing_from_others(
    async_client: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    calls = [asyncio.create_task(async_client.encode("gated", images[row : row + 1])) for row in range(10)]
    await until(lambda: sum(sent_rows(service)) == 10)
    calls[3].cancel()
    await asyncio.sleep(0.01)
    service.gate.release(1000)
    results = await asyncio.gather(*calls, return_exceptions=True)
    for row, result in enumerate(results):
        if row == 3:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert not isinstance(result, BaseException)
            np.testing.assert_allclose(result.codings, encoded(images[row : row + 1]), rtol=1e-6)


@pytest.mark.parametrize("turns", [0, 1, 2, 50])
async def test_a_request_that_nobody_waits_for_is_cancelled(
    turns: int, async_client: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    calls = [asyncio.create_task(async_client.encode("gated", images[row : row + 1])) for row in range(10)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    # The way is free, though the server has answered nothing.
    next_calls = [asyncio.create_task(async_client.encode("gated", images[:1])) for _ in range(2)]
    num_sent = len(service.requests)
    await until(lambda: len(service.requests) >= min(num_sent + 1, 2))
    service.gate.release(1000)
    await asyncio.gather(*next_calls)


async def test_each_call_has_its_own_deadline(busy: AsyncClient, service: PlainService, images: np.ndarray) -> None:
    patient = [asyncio.create_task(busy.encode("gated", images[row : row + 1])) for row in range(3)]
    for timeout_s in (0.02, 0.01, 0.04):  # while they wait to be sent
        with pytest.raises(exceptions.DeadlineExceededError, match="Encode of 'gated': no answer in time"):
            await busy.encode("gated", images[:1], timeout_s=timeout_s)
    assert len(service.requests) == MIN_IN_FLIGHT
    hasty = asyncio.create_task(busy.encode("gated", images[:1], timeout_s=5))
    await asyncio.sleep(0)
    service.gate.release(MIN_IN_FLIGHT)
    await until(lambda: len(service.requests) > MIN_IN_FLIGHT)  # they are sent, and not answered
    hasty_too = asyncio.create_task(busy.encode("gated", images[:1], timeout_s=0.01))
    with pytest.raises(exceptions.DeadlineExceededError):
        await hasty_too
    service.gate.release(1000)
    results = await asyncio.gather(*patient, hasty)
    np.testing.assert_allclose(np.concatenate([r.codings for r in results[:3]]), encoded(images[:3]), rtol=1e-6)


async def test_a_short_deadline_among_long_ones_in_one_request(
    async_client: AsyncClient, service: PlainService, images: np.ndarray
) -> None:
    timeouts_s = [None, 0.1, None, 0.1]
    calls = [
        asyncio.create_task(async_client.encode("gated", images[row : row + 1], timeout_s=timeout_s))
        for row, timeout_s in enumerate(timeouts_s)
    ]
    await asyncio.wait([calls[1], calls[3]])
    assert [call.done() for call in calls] == [False, True, False, True]
    assert sum(sent_rows(service)) == 4
    assert len(service.requests) == MIN_IN_FLIGHT
    service.gate.release(1000)
    results = await asyncio.gather(*calls, return_exceptions=True)
    for row in (0, 2):
        result = results[row]
        assert not isinstance(result, BaseException)
        np.testing.assert_allclose(result.codings, encoded(images[row : row + 1]), rtol=1e-6)


@pytest.mark.parametrize("kind", ["alone", "streamed"])
async def test_closing_ends_calls_that_are_not_merged_by_an_error_and_not_as_if_cancelled(
    address: str, service: PlainService, images: np.ndarray, kind: str
) -> None:
    client = AsyncClient(address, merge=False)
    request = requests.encode("gated", images[:1])

    async def stream() -> object:
        return await anext(aiter(client.stream([request])))

    calling = asyncio.create_task(client.run(request) if kind == "alone" else stream())
    await until(lambda: len(service.requests) == 1)
    await client.close()
    with pytest.raises(exceptions.UnavailableError, match="the client is closed"):
        await calling


@pytest.mark.parametrize("merge", [True, False])
async def test_who_is_cancelled_as_the_client_closes_stays_cancelled(
    address: str, service: PlainService, images: np.ndarray, merge: bool
) -> None:
    client = AsyncClient(address, merge=merge)
    calling = asyncio.create_task(client.encode("gated", images[:1]))
    await until(lambda: len(service.requests) == 1)
    closing = asyncio.create_task(client.close())
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await closing


async def test_closing_ends_all_calls(address: str, service: PlainService, images: np.ndarray) -> None:
    client = AsyncClient(address)
    calls = [asyncio.create_task(client.encode("gated", images[:1]))]
    await until(lambda: len(service.requests) == 1)
    calls += [asyncio.create_task(client.encode("gated", images[:1])) for _ in range(5)]
    await asyncio.sleep(0)
    await client.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(result) for result in results] == ["Encode of 'gated': the client is closed"] * 6
    assert all(isinstance(result, exceptions.UnavailableError) for result in results)
    with pytest.raises(ValueError, match="the client is closed"):
        await client.encode("gated", images[:1])


def test_another_event_loop_is_refused(address: str, images: np.ndarray) -> None:
    client = AsyncClient(address)

    async def call() -> None:
        await client.encode("plain", images[:1])

    asyncio.run(call())
    with pytest.raises(RuntimeError, match="expected all calls from one event loop"):
        asyncio.run(call())


async def test_merging_can_be_switched_off(address: str, service: PlainService, images: np.ndarray) -> None:
    async with AsyncClient(address, merge=False) as client:
        await asyncio.gather(*(client.encode("plain", images[row : row + 1]) for row in range(20)))
    with Client(address, merge=False) as threads_client, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda row: threads_client.encode("plain", images[row : row + 1]), range(20)))
    assert sent_rows(service) == [1] * 40


async def test_a_merged_request_belongs_to_the_first_callers_trace(
    address: str, service: PlainService, images: np.ndarray
) -> None:
    async def call(encode: Callable[..., Any], span_id: int) -> None:
        with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(7, span_id, is_remote=False))):
            await encode("gated", images[:1])

    async def call_all(encode: Callable[..., Any]) -> list[int]:
        service.metadata.clear()
        calls = []
        for span_id in range(1, 6):
            calls.append(asyncio.create_task(call(encode, span_id)))
            await until(lambda: bool(service.metadata))
            await asyncio.sleep(0.01)
        service.gate.release(2)
        await asyncio.gather(*calls)
        return [int(str(metadata["traceparent"]).split("-")[2], 16) for metadata in service.metadata]

    async with AsyncClient(address, tracing=True) as async_client:
        assert await call_all(async_client.encode) == [1, 2]
    with Client(address, tracing=True) as client:
        assert await call_all(lambda *args: asyncio.to_thread(client.encode, *args)) == [1, 2]


async def test_samples_and_mixes_are_not_merged(async_client: AsyncClient, service: PlainService) -> None:
    samples = await asyncio.gather(*(async_client.sample("plain", 1, seed=seed) for seed in range(5)))
    assert [sample.seed for sample in samples] == list(range(5))
    assert len(service.requests) == 5


async def test_nothing_is_kept_of_calls_that_are_over(async_client: AsyncClient, images: np.ndarray) -> None:
    for rows in (1, 3, 20):
        await asyncio.gather(*(async_client.encode("plain", images[:rows]) for _ in range(10)))
    await asyncio.sleep(0.01)
    merger = async_client._merger
    assert merger is not None
    assert (list(merger._pools.calls()), merger._tasks, merger._to_flush) == ([], {}, set())


# The client for threads.


def test_threads_gather(address: str, service: PlainService, images: np.ndarray) -> None:
    spoilt = images[:20].copy()
    spoilt[11] = 2

    def encode(row: int) -> Any:
        try:
            return client.encode("gated", spoilt[row : row + 1]).codings
        except ValueError as error:
            return error

    with Client(address) as client, ThreadPoolExecutor(MIN_IN_FLIGHT + 20) as threads:
        first = [threads.submit(client.encode, "gated", images[:1]) for _ in range(MIN_IN_FLIGHT)]
        wait_until(lambda: len(service.requests) == MIN_IN_FLIGHT)
        futures = [threads.submit(encode, row) for row in range(20)]
        time.sleep(0.1)
        assert sent_rows(service) == [1] * MIN_IN_FLIGHT
        service.gate.release(1000)
        results = [future.result() for future in futures]
        assert all(future.result().codings.shape == (1, 2) for future in first)
    assert isinstance(results.pop(11), exceptions.InvalidArgumentError)
    np.testing.assert_allclose(np.concatenate(results), encoded(np.delete(images[:20], 11, 0)), rtol=1e-6)
    assert len(service.requests) < 20


def test_a_thread_has_its_own_deadline(address: str, service: PlainService, images: np.ndarray) -> None:
    with Client(address) as client, ThreadPoolExecutor(10) as threads:
        first = [threads.submit(client.encode, "gated", images[:1]) for _ in range(MIN_IN_FLIGHT)]
        wait_until(lambda: len(service.requests) == MIN_IN_FLIGHT)
        patient = threads.submit(client.encode, "gated", images[1:2])
        with pytest.raises(exceptions.DeadlineExceededError, match="Encode of 'gated': no answer in time"):
            client.encode("gated", images[:1], timeout_s=0.05)
        service.gate.release(1000)
        np.testing.assert_allclose(patient.result().codings, encoded(images[1:2]), rtol=1e-6)
        assert len([future.result() for future in first]) == MIN_IN_FLIGHT
    assert sum(sent_rows(service)) == MIN_IN_FLIGHT + 1, "what is late is not sent"


def test_closing_ends_the_calls_of_threads(address: str, service: PlainService, images: np.ndarray) -> None:
    client = Client(address, max_attempts=1)
    with ThreadPoolExecutor(10) as threads:
        first = [threads.submit(client.encode, "gated", images[:1]) for _ in range(MIN_IN_FLIGHT)]
        wait_until(lambda: len(service.requests) == MIN_IN_FLIGHT)
        waiting = [threads.submit(client.encode, "gated", images[:1]) for _ in range(3)]
        time.sleep(0.1)
        client.close()
        for future in first:
            assert isinstance(future.exception(), exceptions.LatentryError)
        for future in waiting:
            assert isinstance(future.exception(), exceptions.UnavailableError)
    with pytest.raises(ValueError, match="the client is closed"):
        client.encode("gated", images[:1])


def test_many_threads_get_their_own(address: str, images: np.ndarray) -> None:
    results: dict[int, np.ndarray] = {}

    def work(start: int) -> None:
        for row in range(start, 600, 16):
            results[row] = client.encode("plain", images[row : row + 1]).codings

    with Client(address) as client:
        threads = [threading.Thread(target=work, args=(start,)) for start in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    np.testing.assert_allclose(np.concatenate([results[row] for row in range(600)]), encoded(images), rtol=1e-6)


def test_chunks_of_threads_are_pipelined(address: str, service: PlainService, images: np.ndarray) -> None:
    with Client(address, max_rows=10) as client, ThreadPoolExecutor(1) as threads:
        future = threads.submit(client.encode, "gated", images[:100])
        wait_until(lambda: len(service.requests) == 1)
        service.gate.release()
        wait_until(lambda: len(service.requests) == 5)  # four go together, after the first has settled the version
        service.gate.release(1000)
        np.testing.assert_allclose(future.result().codings, encoded(images[:100]), rtol=1e-6)
    assert {request.version for request in service.requests[1:]} == {3}
