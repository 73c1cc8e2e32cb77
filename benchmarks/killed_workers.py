"""Kills a server's workers, one after the other, while clients call it: `python -m benchmarks.killed_workers`.

Every answer is compared with the one that was given before the first kill.
"""

import argparse
import asyncio
import os
import re
import signal
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from latentry_client import AsyncClient, LatentryError

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import ServerProcess, serve
from tests.server.command import children

_METRICS_PORT = 18_002


@dataclass
class Outcome:
    """What came of it."""

    seconds: float = 0.0
    kills: int = 0
    answered: int = 0
    wrong: int = 0
    lost: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    restart_s: list[float] = field(default_factory=list)
    """From each kill to all workers being ready again."""
    supervisor_mib: tuple[float, float] = (0.0, 0.0)
    """Resident memory of the supervisor after the first kill and at the end."""


class Load:
    """Callers that each encode one image again and again."""

    def __init__(self, client: AsyncClient, images: np.ndarray, codings: np.ndarray, outcome: Outcome) -> None:
        self._client = client
        self._images = images
        self._codings = codings
        self._outcome = outcome
        self.is_over = False

    async def call(self, row: int) -> None:
        """Call until it is over."""
        outcome = self._outcome
        while not self.is_over:
            started_s = time.perf_counter()
            try:
                encoding = await self._client.encode("stacked", self._images[row : row + 1])
            except LatentryError as error:
                outcome.lost.append(str(error))
                continue
            outcome.answered += 1
            outcome.wrong += not np.allclose(encoding.codings, self._codings[row : row + 1], atol=1e-4)
            outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - started_s)


async def measure(supervisor: ServerProcess, *, workers: int, callers: int, seconds: float) -> Outcome:
    """Call for some seconds, and kill a worker whenever all are ready."""
    outcome = Outcome()
    images = np.random.default_rng(0).random((callers, 1, 28, 28), np.float32)
    async with AsyncClient(supervisor.address) as client:
        codings = (await client.encode("stacked", images)).codings
        load = Load(client, images, codings, outcome)
        calling = [asyncio.create_task(load.call(row)) for row in range(callers)]
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            await asyncio.sleep(1)
            killed_s = time.perf_counter()
            os.kill(children(supervisor.pid)[0], signal.SIGKILL)
            outcome.kills += 1
            await asyncio.to_thread(_await_restart, outcome.kills, workers)
            outcome.restart_s.append(time.perf_counter() - killed_s)
            resident_mib = round(supervisor.resident_mib, 1)
            outcome.supervisor_mib = (outcome.supervisor_mib[0] or resident_mib, resident_mib)
        load.is_over = True
        await asyncio.gather(*calling)
        outcome.seconds = time.perf_counter() - started_s
    return outcome


def _await_restart(restarts: int, workers: int) -> None:
    expected = {"latentry_worker_restarts_total": restarts, "latentry_workers": workers}
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{_METRICS_PORT}/metrics", timeout=30) as response:
            found = re.findall(r"^(latentry_worker\w+) (\S+)$", response.read().decode(), re.MULTILINE)
        if expected.items() <= {name: float(value) for name, value in found}.items():
            return
        time.sleep(0.05)


def main() -> None:
    """Measure, print a line, and leave all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/killed-workers.json"))
    options = parser.parse_args()
    machine = describe_machine()
    flags = ("--models", "stacked", "--workers", str(options.workers))
    with serve(options.repository, *flags, metrics_port=_METRICS_PORT) as supervisor:
        outcome = asyncio.run(
            measure(supervisor, workers=options.workers, callers=options.callers, seconds=options.seconds)
        )
    save({"machine": machine, **asdict(outcome)}, options.output)
    print(
        f"{outcome.kills} kills in {outcome.seconds:.0f} s: {outcome.answered} calls answered, {outcome.wrong} wrong, "
        f"{len(outcome.lost)} lost; slowest {outcome.slowest_s:.2f} s; all workers again after at most "
        f"{max(outcome.restart_s):.1f} s; supervisor {outcome.supervisor_mib[0]} -> {outcome.supervisor_mib[1]} MiB"
    )


if __name__ == "__main__":
    main()
