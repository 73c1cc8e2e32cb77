"""The load generator for HTTP, as lean as that for gRPC: posts one body over kept connections, prints one line of JSON.

Requests are bytes that were made before; of an answer only the status and the length are read.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.serving.load import Recorder

MARGIN_S = 30  # for answers that are under way at the end
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"


def post(address: str, path: str, body: bytes) -> bytes:
    """The bytes of a request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer_size(received: bytes | bytearray) -> int | None:
    """How many bytes the answer takes that begins so; None: its head is not complete.

    Raises:
        ValueError: it is not 200, or does not tell its length.
    """
    end = received.find(END_OF_HEAD)
    if end < 0:
        return None
    head = received[:end].lower()
    begin = head.find(LENGTH)
    if not head.startswith(b"http/1.1 200 ") or begin < 0:
        raise ValueError(f"not an answer of known length: {bytes(received[:1000])!r}")
    length, _, _ = head[begin + len(LENGTH) :].partition(b"\r\n")
    return end + len(END_OF_HEAD) + int(length)


class Connection(asyncio.Protocol):
    """One caller: sends a request, waits for the whole answer, sends the next."""

    def __init__(self, request: bytes, recorder: Recorder) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._recorder = request, recorder
        self._received = bytearray()
        self._size: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._send()

    def data_received(self, data: bytes) -> None:
        """Read on; at the answer's end call again, until time is over."""
        self._received += data
        try:
            self._size = self._size or answer_size(self._received)
        except ValueError as error:
            self._end(error)
            return
        if self._size is None or len(self._received) < self._size:
            return
        self._recorder.add(self._started_s)
        if self._recorder.is_over:
            self._end()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """The server may not close it."""
        self._end(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        self._received.clear()
        self._size = None
        self._started_s = time.perf_counter()
        self._transport.write(self._request)

    def _end(self, error: Exception | None = None) -> None:
        if self.done.done():
            return
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)
        self._transport.close()


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Call for the time given; TimeoutError where answers stay away."""
    host, port = options.address.rsplit(":", 1)
    request = post(options.address, options.path, options.body.read_bytes())
    recorder = Recorder(options.warm_up_s, options.duration_s)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(options.warm_up_s + options.duration_s + MARGIN_S):
        connections = [
            (await loop.create_connection(lambda: Connection(request, recorder), host, int(port)))[1]
            for _ in range(options.in_flight)
        ]
        await asyncio.gather(*(connection.done for connection in connections))
    return recorder.report()


def main() -> None:
    """Call, and print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.peers.http_load")
    parser.add_argument("address")
    parser.add_argument("path")
    parser.add_argument("body", type=Path, help="file with a request's body")
    parser.add_argument("--in-flight", type=int, default=1, help="connections, each with one call at a time")
    parser.add_argument("--warm-up-s", type=float, default=0.5)
    parser.add_argument("--duration-s", type=float, default=2.0)
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
