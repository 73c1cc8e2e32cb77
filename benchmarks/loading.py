"""Measures what loading costs: the start, the memory, and the requests that are answered meanwhile.

Three parts, each on server processes of its own with the pretrained models. The latency of one model while others are
loaded, beside its latency while nothing happens, alternately; with and without the process that tries bundles first.
The start to ready and the memory with 20 bundles. And the throughput of one model alone and among 100 loaded ones,
alternately. Run by `python -m benchmarks.loading`.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import grpc.aio
import numpy as np
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2 as models
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry.v1.model_service_pb2_grpc import ModelServiceStub
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import ServerProcess, serve

MODELS = Path("models")
ASKED = "stacked"
LOADED = ("conv", "dcgan", "stylegan")
_PAUSE_S = 0.002


def measure_start(folder: Path) -> dict[str, float]:
    """Time and memory to ready with 20 bundles."""
    repository = copies(folder / "20", 20)
    with serve(repository) as server:
        return {"start_s": round(server.start_s, 2), "resident_mib": round(server.resident_mib)}


def measure_many(folder: Path, rounds: int) -> dict[str, Any]:
    """Calls a second to one model, 64 in flight, with 1 and with 100 bundles loaded."""
    with serve(copies(folder / "1", 1)) as alone, serve(copies(folder / "100", 100)) as among:
        rates: list[list[float]] = [[], []]
        for _ in range(rounds):
            for server, found in zip((alone, among), rates, strict=True):
                found.append(asyncio.run(throughput(server, seconds=2)))
        return {
            "start_s": round(among.start_s, 2),
            "resident_mib": round(among.resident_mib),
            "threads": among.num_threads,
            "calls_per_s": [round(median(found)) for found in rates],
            "ratios": [round(many / one, 3) for one, many in zip(*rates, strict=True)],
        }


def copies(repository: Path, count: int) -> Path:
    """Fill a repository with the asked model and copies of the pretrained ones under other names."""
    names = sorted(path.name for path in MODELS.iterdir() if path.is_dir() and path.name != ASKED)
    shutil.copytree(MODELS / ASKED, repository / ASKED)
    for number in range(count - 1):
        name = names[number % len(names)]
        copy = f"{name}-{number // len(names)}"
        shutil.copytree(MODELS / name, repository / copy)
        for manifest in (repository / copy).glob("*/manifest.json"):
            manifest.write_text(manifest.read_text().replace(f'"name": "{name}"', f'"name": "{copy}"', 1))
    return repository


async def throughput(server: ServerProcess, *, seconds: float) -> float:
    """Calls a second with 64 in flight."""
    calls = 0
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub, end_s = InferenceServiceStub(channel), time.perf_counter() + seconds

        async def repeat() -> None:
            nonlocal calls
            while time.perf_counter() < end_s:
                await stub.Encode(encode_request())
                calls += 1

        await asyncio.gather(*(repeat() for _ in range(64)))
    return calls / seconds


async def measure_latency(folder: Path, rounds: int, flags: list[str]) -> dict[str, Any]:
    """Latencies of one model, two callers, while nothing happens and while others are loaded."""
    repository = folder / "loading"
    for name in (ASKED, *LOADED):
        shutil.copytree(MODELS / name, repository / name)
    quiet: list[float] = []
    loading: list[float] = []
    latencies = quiet
    with serve(repository, "--models", ASKED, *flags) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub, admin = InferenceServiceStub(channel), ModelServiceStub(channel)

            async def repeat() -> None:
                while True:
                    started_s, into = time.perf_counter(), latencies
                    await stub.Encode(encode_request())
                    into.append(time.perf_counter() - started_s)
                    await asyncio.sleep(_PAUSE_S)

            callers = [asyncio.create_task(repeat()) for _ in range(2)]
            await asyncio.sleep(1)
            quiet.clear()
            for _ in range(rounds):
                latencies = quiet
                await asyncio.sleep(1)
                latencies = loading
                for name in LOADED:
                    await admin.LoadModel(models.LoadModelRequest(model=name))
                latencies = quiet
                for name in LOADED:
                    await admin.UnloadModel(models.UnloadModelRequest(model=name))
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
    return {"quiet": quantiles_ms(quiet), "loading": quantiles_ms(loading)}


def encode_request() -> messages.EncodeRequest:
    """One image."""
    inputs = np.full((1, 1, 28, 28), 0.5, dtype=np.float32)
    return messages.EncodeRequest(
        model=ASKED, inputs=Tensor(dtype=DATA_TYPE_FLOAT32, shape=inputs.shape, data=inputs.tobytes())
    )


def quantiles_ms(seconds: list[float]) -> dict[str, float]:
    """Quantiles in milliseconds, and how many there were."""
    values = np.quantile(seconds, (0.5, 0.9, 0.99, 1.0)) * 1000
    named = dict(zip(("p50", "p90", "p99", "max"), (round(float(value), 2) for value in values), strict=True))
    return {"calls": len(seconds)} | named


def main() -> None:
    """Measures, writes JSON and prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/loading.json"))
    options = parser.parse_args()

    report: dict[str, Any] = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as folder:
        for tried, flags in (("tried", []), ("untried", ["--load-timeout-s", "0"])):
            report[f"latency_ms_{tried}"] = asyncio.run(measure_latency(Path(folder) / tried, options.rounds, flags))
        report["with_20_bundles"] = measure_start(Path(folder))
        report["with_1_and_100_bundles"] = measure_many(Path(folder), options.rounds)
    save(report, options.output)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
