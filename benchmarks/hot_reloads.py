"""Soaks a server in hot reloads, version swaps and unloads under load, and counts failures, wrong answers and growth.

Callers ask for codings all the time and know the weights of every version, so that an answer shows who gave it. One
cycle publishes a version, loads it, and deletes the one before; then it unloads a second model and loads it again: four
loads and unloads. Run by `python -m benchmarks.hot_reloads`.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
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
from tests.server.bundles import Autoencoder, images

_SWAPPED, _RELOADED = "swapped", "reloaded"
_NUM_SAMPLES = 10
_PAUSE_S = 0.002


class Soak:
    """The load, and what came of it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.outcomes: Counter[str] = Counter()
        self.live: set[int] = set()
        self._stub: Any = InferenceServiceStub(channel)
        self._inputs = images(3)
        self._codings: dict[int, Any] = {}

    def expect(self, version: int) -> None:
        """Take answers of this version for right ones, too."""
        self._codings[version] = Autoencoder(seed=version).encode(self._inputs)
        self.live.add(version)

    def forget(self, version: int) -> None:
        """Take answers of this version for wrong ones, from the next request on."""
        self.live.discard(version)

    async def ask_for_ever(self, model: str, *, may_be_away: bool) -> None:
        """Ask, one call after the other."""
        inputs = Tensor(dtype=DATA_TYPE_FLOAT32, shape=self._inputs.shape, data=self._inputs.tobytes())
        request = messages.EncodeRequest(model=model, inputs=inputs)
        while True:
            live = self.live.copy() if model == _SWAPPED else {1}
            try:
                response = await self._stub.Encode(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                away = may_be_away and error.code() is grpc.StatusCode.UNAVAILABLE
                self.outcomes["unloaded" if away else f"failed: {error.code().name}: {error.details()}"] += 1
            else:
                codings = np.frombuffer(response.codings.data, np.float32).reshape(tuple(response.codings.shape))
                versions = live | self.live if model == _SWAPPED else live  # before, and now
                right = any(np.allclose(codings, self._codings[version], atol=1e-5) for version in versions)
                self.outcomes["right" if right else "wrong"] += 1
            await asyncio.sleep(_PAUSE_S)


async def soak(options: argparse.Namespace, repository: Path, server: ServerProcess) -> dict[str, Any]:
    """Run the cycles and sample the process."""
    samples = []
    async with grpc.aio.insecure_channel(server.address) as channel:
        admin: Any = ModelServiceStub(channel)
        load = Soak(channel)
        load.expect(1)
        callers = [
            asyncio.create_task(load.ask_for_ever(model, may_be_away=model == _RELOADED))
            for model in (_SWAPPED, _RELOADED)
            for _ in range(options.callers)
        ]
        started_s = time.perf_counter()
        for cycle in range(options.cycles):
            if cycle % max(1, options.cycles // _NUM_SAMPLES) == 0:
                samples.append(sample(server, cycle))
            version = cycle + 2
            load.expect(version)
            await asyncio.to_thread(Autoencoder(seed=version).write, repository, _SWAPPED, version)
            await admin.LoadModel(models.LoadModelRequest(model=_SWAPPED))
            await asyncio.to_thread(shutil.rmtree, repository / _SWAPPED / str(version - 1))
            load.forget(version - 1)
            await admin.UnloadModel(models.UnloadModelRequest(model=_RELOADED))
            await admin.LoadModel(models.LoadModelRequest(model=_RELOADED))
        samples.append(sample(server, options.cycles))
        seconds = time.perf_counter() - started_s
        for caller in callers:
            if caller.done():
                caller.result()
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    return {"seconds": round(seconds, 1), "outcomes": dict(load.outcomes), "samples": samples}


def sample(server: ServerProcess, cycle: int) -> dict[str, float]:
    """What the process holds just now."""
    return {
        "cycle": cycle,
        "resident_mib": round(server.resident_mib, 1),
        "files": server.num_files,
        "threads": server.num_threads,
    }


def main() -> None:
    """Soaks, writes JSON and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_reloads")
    parser.add_argument("--cycles", type=int, default=2500)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/hot-reloads.json"))
    options = parser.parse_args()

    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        Autoencoder(seed=1).write(repository, _SWAPPED, 1)
        Autoencoder(seed=1).write(repository, _RELOADED, 1)
        with serve(repository, "--threads", "1", "--poll-interval-s", "0.5") as server:
            result = asyncio.run(soak(options, repository, server))
    report = {"machine": machine, "cycles": options.cycles} | result
    save(report, options.output)
    lines = ["| cycles | resident MiB | files | threads |", "|" + " --- |" * 4]
    lines += [f"| {s['cycle']} | {s['resident_mib']} | {s['files']} | {s['threads']} |" for s in result["samples"]]
    print(
        f"{machine}\n\n{result['outcomes']} in {result['seconds']} s\n\n" + "\n".join(lines) + f"\n\n{options.output}"
    )


if __name__ == "__main__":
    main()
