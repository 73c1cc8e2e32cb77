"""Which connections calls go over, seen by the server."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from latentry_client import AsyncClient, Client, requests

from tests.client.plain_service import PlainService

NUM_CALLS = 6


async def test_one_call_at_a_time_needs_one_connection(address: str, service: PlainService) -> None:
    with Client(address) as client:
        for _ in range(NUM_CALLS):
            client.sample("plain", 1)
    assert len(service.peers) == 1
    async with AsyncClient(address) as async_client:
        for _ in range(NUM_CALLS):
            await async_client.sample("plain", 1)
    assert len(service.peers) == 2


@pytest.mark.parametrize("max_connections", [1, 3, 8])
async def test_calls_in_flight_spread_over_the_connections(
    address: str, service: PlainService, max_connections: int
) -> None:
    async with AsyncClient(address, max_connections=max_connections) as client:
        await asyncio.gather(*(client.sample("slow", 1) for _ in range(NUM_CALLS)))
    assert len(service.peers) == min(max_connections, NUM_CALLS)


def test_threads_spread_over_the_connections(address: str, service: PlainService) -> None:
    with Client(address, max_connections=3) as client, ThreadPoolExecutor(NUM_CALLS) as pool:
        list(pool.map(lambda _: client.sample("slow", 1), range(NUM_CALLS)))
    assert len(service.peers) == 3


async def test_streams_have_connections_of_their_own(address: str, service: PlainService) -> None:
    with Client(address) as client:
        one, other = (client.stream([requests.sample("plain", 1)] * 3) for _ in range(2))
        assert next(one).run.version == next(other).run.version == 3
        assert len(service.peers) == 2
        assert len([*one, *other]) == 4


async def test_a_closed_client_says_so(address: str) -> None:
    client = Client(address)
    client.close()
    with pytest.raises(ValueError, match="the client is closed"):
        client.sample("plain", 1)
    async_client = AsyncClient(address)
    await async_client.close()
    with pytest.raises(ValueError, match="the client is closed"):
        await async_client.sample("plain", 1)


def test_no_connection_is_too_few() -> None:
    with pytest.raises(ValueError, match="max_connections: expected at least 1, got 0"):
        Client(max_connections=0)
