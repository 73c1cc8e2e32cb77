"""The load generator: calls one method with bytes that were serialised before, and prints one line of JSON.

It does as little as gRPC's own client for Python can: nothing is parsed but the id of a stream's response. Its CPU time
is reported beside the figures, so that a run in which it was the bottleneck can be told.
"""

import argparse
import asyncio
import json
import random
import time
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import uvloop

CONNECT_TIMEOUT_S = 20
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # each channel has a connection of its own
)


class Recorder:
    """Latencies, in seconds, of the calls that end after the warm-up."""

    def __init__(self, warm_up_s: float, duration_s: float) -> None:
        self.begin_s = time.perf_counter() + warm_up_s
        self.end_s = self.begin_s + duration_s
        self.latencies_s: list[float] = []
        self.num_failed = 0
        self._begin_cpu_s: float | None = None
        self._cpu_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether no further call is begun."""
        return time.perf_counter() >= self.end_s

    def add(self, started_s: float) -> None:
        """Note a call that has ended just now."""
        now_s = time.perf_counter()
        if self.begin_s <= now_s <= self.end_s:
            if self._begin_cpu_s is None:
                self._begin_cpu_s = time.process_time()
            self.latencies_s.append(now_s - started_s)
            self._cpu_s = time.process_time() - self._begin_cpu_s

    def report(self) -> dict[str, float]:
        """What the calls took."""
        latencies = np.array(self.latencies_s or [np.nan])
        return {
            "calls_per_s": len(self.latencies_s) / (self.end_s - self.begin_s),
            "p50_ms": float(np.percentile(latencies, 50)) * 1e3,
            "p99_ms": float(np.percentile(latencies, 99)) * 1e3,
            "num_calls": len(self.latencies_s),
            "num_failed": self.num_failed,
            "load_cpu_us_per_call": self._cpu_s * 1e6 / max(1, len(self.latencies_s)),
        }


async def closed_loop(calls: list[Any], requests: list[bytes], in_flight: int, recorder: Recorder) -> None:
    """Keep so many unary calls in flight, spread over connections and requests."""

    async def caller(number: int) -> None:
        call, request = calls[number % len(calls)], requests[number % len(requests)]
        while not recorder.is_over:
            started_s = time.perf_counter()
            await call(request)
            recorder.add(started_s)

    await asyncio.gather(*(caller(number) for number in range(in_flight)))


async def open_loop(call: Any, request: bytes, calls_per_s: float, recorder: Recorder) -> None:  # noqa: ANN401
    """Begin calls at random times (Poisson), whether or not earlier ones have ended; each counts from its time."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(due_s: float) -> None:
        try:
            await call(request, timeout=10)
        except grpc.aio.AioRpcError:
            recorder.num_failed += 1
        else:
            recorder.add(due_s)

    due_s = time.perf_counter()
    while due_s < recorder.end_s:
        due_s += random.expovariate(calls_per_s)
        if (wait_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        task = asyncio.create_task(one(due_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def stream(call: Any, requests: list[bytes], in_flight: int, recorder: Recorder) -> None:  # noqa: ANN401
    """Keep so many requests in flight on one stream; request i has the decimal number i as its id."""
    started_s = [0.0] * in_flight
    ready = deque(range(in_flight))
    more = asyncio.Event()

    async def write() -> None:
        while not recorder.is_over:
            while ready:
                number = ready.popleft()
                started_s[number] = time.perf_counter()
                await call.write(requests[number])
            more.clear()
            await more.wait()
        await call.done_writing()

    writing = asyncio.create_task(write())
    while (response := await call.read()) is not grpc.aio.EOF:
        # The id is the first field of the message: its tag, its length, its characters.
        number = int(response[2 : 2 + response[1]])
        recorder.add(started_s[number])
        ready.append(number)
        more.set()
    await writing


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Call the method for the time given."""
    requests = [path.read_bytes() for path in options.requests]
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(options.address, OPTIONS))
            for _ in range(options.connections)
        ]
        for channel in channels:
            await asyncio.wait_for(channel.channel_ready(), CONNECT_TIMEOUT_S)
        calls: list[Any] = [channel.unary_unary(options.method) for channel in channels]
        recorder = Recorder(options.warm_up_s, options.duration_s)
        if options.stream:
            await stream(channels[0].stream_stream(options.method)(), requests, options.in_flight, recorder)
        elif options.calls_per_s is None:
            await closed_loop(calls, requests, options.in_flight, recorder)
        else:
            await open_loop(calls[0], requests[0], options.calls_per_s, recorder)
    return recorder.report()


def main() -> None:
    """Call, and print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.load")
    parser.add_argument("address")
    parser.add_argument("method", help="/package.Service/Method")
    parser.add_argument("requests", nargs="+", type=Path, help="files, each with one serialised request")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--connections", type=int, default=1, help="that a closed loop's callers take in turn")
    parser.add_argument("--stream", action="store_true", help="on one stream, instead of unary calls")
    parser.add_argument("--calls-per-s", type=float, help="an open loop at this rate, instead of a closed one")
    parser.add_argument("--warm-up-s", type=float, default=0.5)
    parser.add_argument("--duration-s", type=float, default=2.0)
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
