"""What the server's processes hold over time, how fast that grows, and what its metrics say."""

import asyncio
import re
import sys
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.server_process import ServerProcess
from benchmarks.soak.tally import Tally
from tests.server.command import children, get

INTERVAL_S = 10.0
_SAMPLES_A_LINE = 6
_FAILED = re.compile(r'^grpc_server_handled_total\{.*grpc_code="(INTERNAL|UNKNOWN)".*\} (\S+)$', re.MULTILINE)
_RESTARTS = re.compile(r"^(latentry_worker_restarts)_total (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """All processes together."""

    at_s: float
    resident_kib: int
    files: int
    threads: int


class Watch:
    """Watches the server's process, or the supervisor and its workers."""

    def __init__(self, server: ServerProcess, tally: Tally, *, workers: int, metrics_port: int) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._tally = tally
        self._workers = workers
        self._metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._failures: dict[str, float] = {}

    async def run(self) -> None:
        """Take samples until cancelled, and say now and then how it goes."""
        while True:
            try:
                self.samples.append(self._sample(self._tally.seconds))
            except OSError as error:
                self._tally.complain("process", f"it has gone: {error.strerror}")
            if self.samples and len(self.samples) % _SAMPLES_A_LINE == 0:
                print(self._line(), file=sys.stderr, flush=True)
            await asyncio.sleep(INTERVAL_S)

    async def scrape(self) -> None:
        """Read the metrics; complain of calls that ended as INTERNAL or UNKNOWN, and of workers that were replaced."""
        text = await asyncio.to_thread(get, self._metrics_url)
        failures: dict[str, float] = {}
        for name, value in _FAILED.findall(text) + _RESTARTS.findall(text):
            failures[name] = failures.get(name, 0) + float(value)
        for name, value in failures.items():
            if value > self._failures.get(name, 0):
                self._tally.complain("scrape", f"{name} is {value:g}")
        self._failures = failures
        self._tally.count("scrape", "right")

    def _line(self) -> str:
        last = self.samples[-1]
        complaints = f"{self._tally.num_unexpected} times what must not be"
        return f"{last.at_s:.0f} s: {self._tally.num_calls} calls, {complaints}, {last.resident_kib / 1024:.0f} MiB"

    def _sample(self, at_s: float) -> Sample:
        # A lone server's child is there to try bundles, and comes and goes.
        pids = [self._server.pid, *(children(self._server.pid) if self._workers > 1 else [])]
        processes = [replace(self._server, pid=pid) for pid in pids]
        return Sample(
            at_s=round(at_s, 1),
            resident_kib=round(sum(process.resident_mib for process in processes) * 1024),
            files=sum(process.num_files for process in processes),
            threads=sum(process.num_threads for process in processes),
        )


def slope_kib_per_h(samples: list[Sample]) -> float:
    """Fit a line through the resident memory by least squares."""
    slope_kib_per_s, _ = np.polyfit([s.at_s for s in samples], [s.resident_kib for s in samples], 1)
    return float(slope_kib_per_s) * 3600
