"""Single images from many tasks or threads of one client over plain unary calls, and what a lone call pays for merging.

    python -m benchmarks.serving.merging

One server process, one load process; the cases take turns, and each figure is a median over the rounds. The CPU time of
both processes for a call is reported too: unlike the calls per second, it hardly depends on what else the machine does.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import uvloop
from latentry_client import AsyncClient, Client, requests

from benchmarks.machine import describe_machine
from benchmarks.server_process import serve

MODEL = "stacked"
UNARY_IN_FLIGHT = 64
NUM_THREADS = 64
GOALS = {64: 8.0, 1024: 30.0}  # tasks: calls per second over those of plain unary calls
LONE_GOAL = 1.05  # time of a lone call over that of one that is not merged
ENCODE = "/latentry.v1.InferenceService/Encode"

Call = Callable[[int], Awaitable[object]]


class CpuClock:
    """CPU time of this process and of the server's, in seconds."""

    def __init__(self, server_pid: int) -> None:
        self._stat = Path(f"/proc/{server_pid}/stat")

    def now_s(self) -> float:
        """Read both."""
        user, system = self._stat.read_text().rpartition(")")[2].split()[11:13]
        return time.process_time() + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def calls_per_s(call: Call, num_tasks: int, duration_s: float, clock: CpuClock) -> tuple[float, float]:
    """Have each task make one call after the other; returns the calls per second, and the CPU time of one in µs."""
    num_calls = 0
    end_s = time.perf_counter() + duration_s

    async def caller(number: int) -> None:
        nonlocal num_calls
        is_over = False
        while not is_over:
            await call(number)
            num_calls += 1
            is_over = time.perf_counter() >= end_s

    begin_s, begin_cpu_s = time.perf_counter(), clock.now_s()
    await asyncio.gather(*(caller(number) for number in range(num_tasks)))
    return num_calls / (time.perf_counter() - begin_s), (clock.now_s() - begin_cpu_s) / num_calls * 1e6


def calls_per_s_of_threads(client: Client, image: np.ndarray, duration_s: float) -> float:
    """Have each of some threads make one call after the other."""
    end_s = time.perf_counter() + duration_s

    def caller(_number: int) -> int:
        num_calls = 0
        while time.perf_counter() < end_s:
            client.encode(MODEL, image)
            num_calls += 1
        return num_calls

    begin_s = time.perf_counter()
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        num_calls = sum(threads.map(caller, range(NUM_THREADS)))
    return num_calls / (time.perf_counter() - begin_s)


async def lone_ratio(merged: Call, alone: Call, num_pairs: int) -> float:
    """Make lone calls in turn, so that both meet the same machine, and compare their medians."""
    times_s: dict[Call, list[float]] = {merged: [], alone: []}
    for _ in range(num_pairs):
        for call, taken_s in times_s.items():
            begin_s = time.perf_counter()
            await call(0)
            taken_s.append(time.perf_counter() - begin_s)
    return statistics.median(times_s[merged]) / statistics.median(times_s[alone])


async def measure(address: str, clock: CpuClock, dtype: str, rounds: int, duration_s: float) -> dict[str, float]:
    """Compare plain unary calls, the client's own without merging, and merged ones."""
    images = np.random.default_rng(0).random((max(GOALS), 1, 1, 28, 28), np.float32)
    if dtype == "uint8":
        images = (images * 255).astype(np.uint8)
    message = requests.encode(MODEL, images[0]).whole().SerializeToString()
    figures: dict[str, list[float]] = {}
    async with (
        grpc.aio.insecure_channel(address) as channel,
        AsyncClient(address) as merging,
        AsyncClient(address, merge=False) as alone,
    ):
        threads, threads_alone = Client(address), Client(address, merge=False)
        unary: Any = channel.unary_unary(ENCODE)

        async def call_unary(_number: int) -> None:
            await unary(message)

        async def call_merging(number: int) -> None:
            await merging.encode(MODEL, images[number])

        async def call_alone(number: int) -> None:
            await alone.encode(MODEL, images[number])

        async def cost(call: Call, num_tasks: int) -> tuple[float, float]:
            return await calls_per_s(call, num_tasks, duration_s, clock)

        for _ in range(rounds):
            plain, plain_us = await cost(call_unary, UNARY_IN_FLIGHT)
            taken = {"unary": plain, "unary, CPU us": plain_us}
            taken["not merged"], taken["not merged, CPU us"] = await cost(call_alone, UNARY_IN_FLIGHT)
            taken["lone ratio"] = await lone_ratio(call_merging, call_alone, num_pairs=200)
            for num_tasks in GOALS:
                name = f"{num_tasks} tasks"
                taken[name], taken[f"{name}, CPU us"] = await cost(call_merging, num_tasks)
                taken[f"{name} over unary"] = taken[name] / plain
                taken[f"unary over {name}, CPU"] = plain_us / taken[f"{name}, CPU us"]
            for name, client in (("threads", threads), ("threads, not merged", threads_alone)):
                taken[name] = await asyncio.to_thread(calls_per_s_of_threads, client, images[0], duration_s)
            taken["threads over not merged"] = taken["threads"] / taken["threads, not merged"]
            for name, figure in taken.items():
                figures.setdefault(name, []).append(figure)
        threads.close()
        threads_alone.close()
    return {name: statistics.median(values) for name, values in figures.items()}


async def measure_one(address: str, num_tasks: int, duration_s: float) -> dict[str, float]:
    """Measure one case for `benchmarks.serving`: so many tasks; one: a lone call over one that is not merged."""
    image = np.zeros((1, 1, 28, 28), np.float32)
    async with AsyncClient(address) as merging, AsyncClient(address, merge=False) as alone:

        async def call_merging(_number: int) -> None:
            await merging.encode(MODEL, image)

        async def call_alone(_number: int) -> None:
            await alone.encode(MODEL, image)

        if num_tasks == 1:
            return {"lone_ratio": await lone_ratio(call_merging, call_alone, num_pairs=int(500 * duration_s))}
        rate, _ = await calls_per_s(call_merging, num_tasks, duration_s, CpuClock(os.getpid()))
        return {"calls_per_s": rate}


def main() -> None:
    """Measure, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.merging")
    parser.add_argument("address", nargs="?", help="of a server: only one case, and one line of JSON")
    parser.add_argument("--tasks", type=int, default=64, help="the case; 1: the lone call")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--dtype", choices=("uint8", "float32"), default="uint8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=1.0, help="of each case in each round")
    options = parser.parse_args()
    if options.address:
        print(json.dumps(uvloop.run(measure_one(options.address, options.tasks, options.duration_s))))
        return
    machine = describe_machine()
    with serve(options.models, "--threads", "1") as server:
        clock = CpuClock(server.pid)
        figures = uvloop.run(measure(server.address, clock, options.dtype, options.rounds, options.duration_s))
    for name in ("unary", "not merged", *(f"{num_tasks} tasks" for num_tasks in GOALS)):
        print(f"{name:19} {figures[name]:9.0f} calls/s {figures[f'{name}, CPU us']:7.1f} us of CPU a call")
    for name in ("threads", "threads, not merged"):
        print(f"{name:19} {figures[name]:9.0f} calls/s")
    for num_tasks, goal in GOALS.items():
        ratio, cpu_ratio = figures[f"{num_tasks} tasks over unary"], figures[f"unary over {num_tasks} tasks, CPU"]
        print(f"{num_tasks:4} tasks over unary: {ratio:.1f} (goal: {goal:g}), by CPU time {cpu_ratio:.1f}")
    print(f"{NUM_THREADS:4} threads over not merged: {figures['threads over not merged']:.1f}")
    print(f"a lone call over one that is not merged: {figures['lone ratio']:.3f} (goal: at most {LONE_GOAL})")
    print(json.dumps({"machine": machine, "dtype": options.dtype, "figures": figures}))


if __name__ == "__main__":
    main()
