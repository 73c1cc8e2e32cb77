import threading
from collections.abc import Iterator

import numpy as np
import pytest
from latentry_client import AsyncClient, Client, exceptions, requests
from latentry_client.requests import Request
from latentry_client.results import Classification, Encoding, Outputs, Samples

from tests.client.plain_service import PlainService, encoded


def each(images: np.ndarray) -> Iterator[Request[Encoding]]:
    return (requests.encode("plain", images[i : i + 1]) for i in range(len(images)))


@pytest.mark.parametrize("max_in_flight", [2, 3, 64, 1000])
async def test_results_come_in_order(max_in_flight: int, address: str, client: Client, images: np.ndarray) -> None:
    expected = encoded(images)
    results = [r.codings[0] for r in client.stream(each(images), max_in_flight=max_in_flight)]
    np.testing.assert_allclose(results, expected, rtol=1e-6)
    async with AsyncClient(address) as async_client:
        stream = async_client.stream(each(images), max_in_flight=max_in_flight)
        from_async = [result.codings[0] async for result in stream]
    np.testing.assert_array_equal(from_async, results)


def test_any_operations_share_a_stream(client: Client) -> None:
    mixed: list[Request[Samples] | Request[Outputs]] = [
        requests.sample("plain", 2, seed=1),
        requests.decode("plain", [[0.5, 0.5]]),
        requests.sample("plain", 1),
    ]
    sample, decoded, _ = client.stream(mixed)
    assert isinstance(sample, Samples)
    assert isinstance(decoded, Outputs)
    np.testing.assert_array_equal(sample.outputs, client.sample("plain", 2, seed=1).outputs)
    assert decoded.outputs.shape == (1, 1, 4, 4)
    assert list(client.stream([])) == []


async def test_an_error_in_its_place(address: str, client: Client, images: np.ndarray) -> None:
    mixed = [*each(images[:3]), requests.encode("missing", images[:1]), *each(images[3:6])]
    results = list(client.stream(mixed, return_exceptions=True))
    assert [isinstance(result, exceptions.NotFoundError) for result in results] == [i == 3 for i in range(7)]
    async with AsyncClient(address) as async_client:
        from_async = [result async for result in async_client.stream(mixed, return_exceptions=True)]
        with pytest.raises(exceptions.NotFoundError):
            _ = [result async for result in async_client.stream(mixed)]
    assert [type(result) for result in from_async] == [type(result) for result in results]
    with pytest.raises(exceptions.NotFoundError, match="Encode of 'missing'"):
        list(client.stream(mixed))


async def test_an_answer_that_cannot_be_used_in_its_place(address: str, client: Client, images: np.ndarray) -> None:
    mixed = [requests.classify(model, images[:2]) for model in ("plain", "miscounting", "plain")]
    results = list(client.stream(mixed, return_exceptions=True))
    assert [type(result) for result in results] == [Classification, exceptions.BadResponseError, Classification]
    async with AsyncClient(address) as async_client:
        with pytest.raises(exceptions.BadResponseError, match="2 labels of 2 names"):
            _ = [result async for result in async_client.stream(mixed)]


def test_requests_are_taken_as_there_is_room(client: Client, images: np.ndarray) -> None:
    taken = 0

    def counted() -> Iterator[Request[Encoding]]:
        nonlocal taken
        for request in each(images):
            taken += 1
            yield request

    stream = client.stream(counted(), max_in_flight=4)
    next(stream)
    assert taken <= 6
    stream.close()  # type: ignore[attr-defined]
    assert taken <= 6


def test_the_callers_own_error_comes_through(client: Client, images: np.ndarray) -> None:
    def failing() -> Iterator[Request[Encoding]]:
        yield from each(images[:2])
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(client.stream(failing()))


def test_what_cannot_be_streamed_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="requests: expected one of Encode"):
        list(client.stream([requests.get_model("plain")]))
    with pytest.raises(ValueError, match="max_in_flight: expected at least 1, got 0"):
        list(client.stream([], max_in_flight=0))


@pytest.mark.parametrize(("model", "message"), [("hanging-up", "1 requests unanswered"), ("confused", "no such id")])
async def test_a_wrong_server_is_found_out(model: str, message: str, address: str, client: Client) -> None:
    with pytest.raises(exceptions.BadResponseError, match=message):
        list(client.stream([requests.sample(model, 1)]))
    async with AsyncClient(address) as async_client:
        with pytest.raises(exceptions.BadResponseError, match=message):
            _ = [result async for result in async_client.stream([requests.sample(model, 1)])]


async def test_a_stream_that_breaks_off_is_followed_by_another(
    address: str, service: PlainService, images: np.ndarray
) -> None:
    """Each request is answered once, in order, and right."""
    service.breaks = [0, 3, 1, 0, 0, 7]
    with Client(address, max_attempts=4) as client:
        results = [result.codings[0] for result in client.stream(each(images[:30]), max_in_flight=5)]
    np.testing.assert_allclose(results, encoded(images[:30]), rtol=1e-6)
    assert not service.breaks
    service.breaks = [0, 3, 1, 0, 0, 7]
    async with AsyncClient(address, max_attempts=4) as async_client:
        stream = async_client.stream(each(images[:30]), max_in_flight=5)
        from_async = [result.codings[0] async for result in stream]
    np.testing.assert_allclose(from_async, results, rtol=1e-6)
    assert not service.breaks


async def test_a_stream_that_only_breaks_off_ends(address: str, service: PlainService, images: np.ndarray) -> None:
    service.breaks = [2, 0, 0, 0]
    results: list[Encoding] = []
    with Client(address, max_attempts=3) as client, pytest.raises(exceptions.UnavailableError, match="broken off"):
        results.extend(client.stream(each(images[:30])))
    assert len(service.breaks) == 1
    service.breaks = [0, 0]
    async with AsyncClient(address, max_attempts=1) as async_client:
        with pytest.raises(exceptions.UnavailableError, match=r"broken off|ended before all was sent"):
            _ = [result async for result in async_client.stream(each(images[:30]))]
    assert len(service.breaks) == 1


def test_a_request_that_is_refused_does_not_break_a_stream_off(client: Client, service: PlainService) -> None:
    with pytest.raises(exceptions.UnavailableError, match="Encode of 'away'"):
        list(client.stream([requests.encode("away", np.zeros((1, 1, 4, 4), np.float32))]))
    assert len(service.requests) == 1


def test_a_streams_deadline(client: Client) -> None:
    with pytest.raises(exceptions.DeadlineExceededError, match="Stream"):
        list(client.stream([requests.sample("slow", 1)], timeout_s=0.05))


def test_threads_share_a_client(client: Client, service: PlainService, images: np.ndarray) -> None:
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        rows = images[index * 10 : index * 10 + 10]
        results[index] = np.concatenate([result.codings for result in client.stream(each(rows))])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.concatenate([results[i] for i in range(4)]), encoded(images[:40]), rtol=1e-6)
    assert len(service.requests) == 40
