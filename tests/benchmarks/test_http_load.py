"""The HTTP load generator reads answers right, in whatever pieces they come, and stops at those that are none."""

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.serving.peers.http_load import answer_size, post, run

BODY = bytes(range(256))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: 3\r\n\r\nabc"
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def test_a_request_is_what_the_server_expects() -> None:
    head, _, body = post("127.0.0.1:80", "/encode", BODY).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /encode HTTP/1.1\r\nHost: 127.0.0.1:80\r\n")
    assert head.endswith(b"Content-Length: 256")
    assert body == BODY


def test_the_size_of_an_answer_is_known_with_its_head() -> None:
    head_size = len(ANSWER) - 3
    for size in range(head_size):
        assert answer_size(ANSWER[:size]) is None
    assert answer_size(ANSWER[:head_size]) == answer_size(ANSWER) == len(ANSWER)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nx-content-length: 3\r\n\r\nabc",
    ],
)
def test_what_is_no_answer_of_known_length_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer of known length"):
        answer_size(answer)


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on a free port that answers each request so; yields its address and the bodies that came."""
    bodies: list[bytes] = []
    connections: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                bodies.append(await reader.readexactly(int(head.rsplit(b":", 1)[1])))
                await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        yield f"{host}:{port}", bodies
        await asyncio.gather(*filter(None, connections))


def options(address: str, body: Path) -> Namespace:
    body.write_bytes(BODY)
    return Namespace(address=address, path="/encode", body=body, in_flight=3, warm_up_s=0.0, duration_s=0.2)


async def test_every_call_counts_even_if_its_answer_comes_in_pieces(tmp_path: Path) -> None:
    async def reply(writer: asyncio.StreamWriter) -> None:
        for begin in range(0, len(ANSWER), 20):
            writer.write(ANSWER[begin : begin + 20])
            await writer.drain()
            await asyncio.sleep(0)

    async with server(reply) as (address, bodies):
        figures = await run(options(address, tmp_path / "body"))
    assert set(bodies) == {BODY}
    # The last call of each connection ends after the time.
    assert len(bodies) - 3 <= figures["num_calls"] <= len(bodies)
    assert figures["num_calls"] > 0


async def test_a_server_that_hangs_up_or_refuses_ends_the_load(tmp_path: Path) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def refuse(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")

    async with server(hang_up) as (address, _):
        with pytest.raises(ConnectionError):
            await run(options(address, tmp_path / "body"))
    async with server(refuse) as (address, _):
        with pytest.raises(ValueError, match="500"):
            await run(options(address, tmp_path / "body"))
