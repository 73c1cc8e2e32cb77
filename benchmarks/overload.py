"""Measures what a server does with several times the load that it can take.

A server process gets Decode requests from many connections: first as many as it answers, with a fixed number in flight
(the peak), then several times that, at a fixed rate whatever comes back, then the peak again. During the overload a
modest client asks for a single row now and then. Run by `python -m benchmarks.overload`.
"""

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import grpc.aio
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry.v1.model_service_pb2_grpc import ModelServiceStub
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8, Tensor

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import serve

_PAGE_BYTES = 4096
_MODEST_CALLS_PER_S = 5


@dataclass
class Outcomes:
    """What came of the calls of one phase; latencies in seconds."""

    seconds: float = 0.0
    ok: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    without_retry_info: int = 0
    others: Counter[str] = field(default_factory=Counter)

    @property
    def per_s(self) -> float:
        """Calls answered each second."""
        return len(self.ok) / self.seconds

    def summary(self) -> dict[str, Any]:
        """Counts, rates and quantiles."""
        return {
            "seconds": round(self.seconds, 1),
            "answered": len(self.ok),
            "answered_per_s": round(self.per_s, 1),
            "answered_ms": _quantiles_ms(self.ok),
            "refused": len(self.refused),
            "refused_ms": _quantiles_ms(self.refused),
            "refused_without_retry_info": self.without_retry_info,
            "others": dict(self.others),
        }


class Caller:
    """Sends one request again and again, over several connections in turn, and writes down what came of it."""

    def __init__(self, stubs: list[Any], request: messages.DecodeRequest, timeout_s: float) -> None:
        self._stubs = stubs
        self._request = request
        self._timeout_s = timeout_s
        self._sent = 0

    async def call(self, outcomes: Outcomes) -> None:
        """Make one call."""
        stub = self._stubs[self._sent % len(self._stubs)]
        self._sent += 1
        started_s = time.perf_counter()
        try:
            await stub.Decode(self._request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                outcomes.refused.append(time.perf_counter() - started_s)
                outcomes.without_retry_info += not _has_retry_info(error)
            else:
                outcomes.others[error.code().name] += 1
        else:
            outcomes.ok.append(time.perf_counter() - started_s)

    async def closed_loop(self, in_flight: int, duration_s: float) -> Outcomes:
        """Keep a number of calls in flight."""
        outcomes = Outcomes()
        started_s = time.perf_counter()

        async def repeat() -> None:
            while time.perf_counter() - started_s < duration_s:
                await self.call(outcomes)

        await asyncio.gather(*(repeat() for _ in range(in_flight)))
        outcomes.seconds = time.perf_counter() - started_s
        return outcomes

    async def open_loop(self, calls_per_s: float, duration_s: float) -> Outcomes:
        """Start calls at a rate, whatever comes of them; those that end after the duration count, its time does not."""
        outcomes = Outcomes(seconds=duration_s)
        calls = set()
        started_s = time.perf_counter()
        for number in range(round(calls_per_s * duration_s)):
            wait_s = started_s + number / calls_per_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif not number % 32:
                await asyncio.sleep(0)  # behind its time, it must still read answers
            task = asyncio.create_task(self.call(outcomes))
            calls.add(task)
            task.add_done_callback(calls.discard)
        outcomes.seconds = max(duration_s, time.perf_counter() - started_s)
        await asyncio.gather(*calls)
        return outcomes


async def watch_memory(pid: int) -> list[float]:
    """Write down the resident memory of a process and its children, in MiB, every second until cancelled."""
    memory_mib: list[float] = []
    try:
        while True:
            memory_mib.append(round(sum(map(_resident_mib, _family(pid))), 1))
            await asyncio.sleep(1)
    except asyncio.CancelledError:
        return memory_mib


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the peak, the overload and the peak again."""
    with serve(options.repository, "--threads", str(options.threads)) as server:
        own_connection = (("grpc.use_local_subchannel_pool", 1),)
        channels = [grpc.aio.insecure_channel(server.address, own_connection) for _ in range(options.clients + 1)]
        first, *others = map(InferenceServiceStub, channels)
        caller, modest_caller = [
            Caller(stubs, await decode_request(channels[0], options.model, rows), options.timeout_s)
            for stubs, rows in ((others, options.rows), ([first], 1))
        ]
        await caller.closed_loop(options.clients, 1)
        before = await caller.closed_loop(2 * options.clients, options.peak_s)
        memory = asyncio.create_task(watch_memory(server.pid))
        overload, modest = await asyncio.gather(
            caller.open_loop(options.load * before.per_s, options.duration_s),
            modest_caller.open_loop(_MODEST_CALLS_PER_S, options.duration_s),
        )
        memory.cancel()
        after = await caller.closed_loop(2 * options.clients, options.peak_s)
        for channel in channels:
            await channel.close()
        memory_mib = await memory
    peak_per_s = mean((before.per_s, after.per_s))
    return {
        "peak_per_s": round(peak_per_s, 1),
        "goodput_over_peak": round(overload.per_s / peak_per_s, 3),
        "offered_over_peak": round(_total(overload) / overload.seconds / peak_per_s, 2),
        "memory_mib": {"first": memory_mib[0], "middle": memory_mib[len(memory_mib) // 2], "last": memory_mib[-1]},
        "before": before.summary(),
        "overload": overload.summary(),
        "modest": modest.summary(),
        "after": after.summary(),
    }


async def decode_request(channel: grpc.aio.Channel, model: str, rows: int) -> messages.DecodeRequest:
    """Make a request of random codings, as the model takes them."""
    found = await ModelServiceStub(channel).GetModel(model_service_pb2.GetModelRequest(model=model))
    shape = (rows, *found.model.manifest.codings_shape)
    codings = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    inputs = Tensor(dtype=DATA_TYPE_FLOAT32, shape=shape, data=codings.tobytes())
    return messages.DecodeRequest(model=model, codings=inputs, output_dtype=DATA_TYPE_UINT8)


def table(report: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    overload = report["overload"]
    rows = {
        "offered load over peak": report["offered_over_peak"],
        "goodput over peak": report["goodput_over_peak"],
        "answered, ms (median, 99 %, longest)": overload["answered_ms"],
        "refused": overload["refused"],
        "of them without RetryInfo": overload["refused_without_retry_info"],
        "refused, ms (median, 99 %, longest)": overload["refused_ms"],
        "other ends": overload["others"],
        "modest client, answered and refused": [report["modest"]["answered"], report["modest"]["refused"]],
        "modest client, answered, ms (median, 99 %, longest)": report["modest"]["answered_ms"],
        "memory, MiB (first, middle, last second)": list(report["memory_mib"].values()),
    }
    return "\n".join(
        ["| what | figure |", "| --- | --- |", *(f"| {what} | {figure} |" for what, figure in rows.items())]
    )


def main() -> None:
    """Measures, writes JSON and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--model", default="dcgan")
    parser.add_argument("--rows", type=int, default=64, help="rows of each request")
    parser.add_argument("--load", type=float, default=4.0, help="offered load, in peaks")
    parser.add_argument("--duration_s", type=float, default=60.0)
    parser.add_argument("--peak_s", type=float, default=10.0)
    parser.add_argument("--timeout_s", type=float, default=10.0, help="each call's deadline")
    parser.add_argument("--clients", type=int, default=16, help="connections")
    parser.add_argument("--threads", type=int, default=1, help="threads of each session")
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/overload.json"))
    options = parser.parse_args()

    machine = describe_machine()
    report = asyncio.run(measure(options))
    settings = {name: str(value) for name, value in vars(options).items()}
    save({"machine": machine, "options": settings, **report}, options.output)
    print(f"{machine}\n\n{table(report)}\n\n{options.output}")


def _total(outcomes: Outcomes) -> int:
    return len(outcomes.ok) + len(outcomes.refused) + outcomes.others.total()


def _quantiles_ms(seconds: list[float]) -> list[float]:
    if not seconds:
        return []
    return [round(float(value) * 1000, 2) for value in np.quantile(seconds, (0.5, 0.99, 1.0))]


def _has_retry_info(error: grpc.aio.AioRpcError) -> bool:
    status = rpc_status.from_call(error)
    return status is not None and any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20


if __name__ == "__main__":
    main()
