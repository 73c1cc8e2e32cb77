"""Counts the calls that gRPC loses where connections end at that moment: `python -m benchmarks.connection_ends`.

A bare grpc.aio server and callers who call at random moments around the limit after which a connection is closed: by
the server since it was idle or is old, or by the client itself since it was idle.
"""

import argparse
import asyncio
import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.serving.echo import make_server

_LIMIT_MS = 30
_NUM_CALLERS = 48
_TIMEOUT_S = 20.0
"""A call that has no answer by then is lost: the others take milliseconds."""

_WAYS: dict[str, tuple[dict[str, int], dict[str, int]]] = {  # options of the server, of its clients
    "idle, closed by the server": ({"grpc.max_connection_idle_ms": _LIMIT_MS}, {}),
    "old, closed by the server": (
        {"grpc.max_connection_age_ms": 20 * _LIMIT_MS, "grpc.max_connection_age_grace_ms": 30_000},
        {},
    ),
    "idle, closed by the client": ({}, {"grpc.client_idle_timeout_ms": _LIMIT_MS}),
}


async def count_ends(server_options: dict[str, int], client_options: dict[str, int], *, seconds: float) -> Counter[str]:
    """Call for some seconds, and count how the calls end."""
    server, address = make_server(list(server_options.items()))
    await server.start()
    ends: Counter[str] = Counter()
    until_s = time.monotonic() + seconds
    await asyncio.gather(*(_call(address, client_options, ends, seed, until_s) for seed in range(_NUM_CALLERS)))
    await server.stop(0)
    return ends


async def _call(address: str, options: dict[str, int], ends: Counter[str], seed: int, until_s: float) -> None:
    rng = random.Random(seed)
    own_connection = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(address, options=[own_connection, *options.items()]) as channel:
        call: Any = channel.unary_unary("/Echo/Unary")
        while time.monotonic() < until_s:
            await asyncio.sleep(_LIMIT_MS / 1000 * rng.uniform(0.95, 2.2))
            try:
                await call(b"anyone?", timeout=_TIMEOUT_S)
                ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code().name] += 1


def _run(way: str, seconds: float, ends: Any) -> None:  # noqa: ANN401 (a queue)
    ends.put(asyncio.run(count_ends(*_WAYS[way], seconds=seconds)))


def main() -> None:
    """Count for each way, in a process of its own since gRPC may abort it, print a table, leave JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connection_ends")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/connection_ends.json"))
    options = parser.parse_args()

    report: dict[str, Any] = {"machine": describe_machine(), "grpcio": grpc.__version__}
    print(f"{report['machine']}, grpcio {grpc.__version__}\n\n| connections | calls that end |\n| --- | --- |")
    spawning = multiprocessing.get_context("spawn")
    for way in _WAYS:
        counted = spawning.SimpleQueue()
        process = spawning.Process(target=_run, args=(way, options.seconds, counted))
        process.start()
        process.join()
        report[way] = dict(counted.get()) if process.exitcode == 0 else f"aborted ({process.exitcode})"
        print(f"| {way} | {report[way]} |", flush=True)
    save(report, options.output)


if __name__ == "__main__":
    main()
