"""Compares the server with its peers: MLServer, LitServe and BentoML, each with the same model, on the same machine.

    make bench-peers

Every peer runs in an environment of its own, one worker with one thread a session, once with and once without merging
of concurrent requests; the better of the two counts, for each case. All take turns, round by round, and no peer runs
while another is measured. Prints a table and leaves JSON.
"""

import argparse
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import serve
from benchmarks.serving.peers.encoder import Encoder
from benchmarks.serving.peers.peer import LATENTRY, PEERS, Images, Protocol
from benchmarks.serving.peers.process import PeerProcess, serve_peer
from benchmarks.serving.processes import copy_models, run_side

FLAGS = ("--threads", "1", "--poll-interval-s", "0")
IN_FLIGHT = 64
GOAL = 3.0  # times a peer's calls per second, one image a call
START_TIMEOUT_S = 60
ATOL = 1e-5  # batches of other sizes are added up in another order
OURS, OUR_SDK = "latentry", "latentry's AsyncClient"

Figures = dict[str, dict[str, list[float]]]
"""Rounds' figures by server and by case."""


@dataclass(frozen=True)
class Case:
    """What is asked for, and what is measured."""

    name: str
    rows: int
    in_flight: int
    figure: str

    def ratio(self, ours: float, theirs: float) -> float:
        """How many times as fast we are."""
        return theirs / ours if self.figure == "p50_ms" else ours / theirs

    def better(self, one: list[float], other: list[float]) -> bool:
        """Whether one server's rounds are better than another's, by their medians."""
        return self.ratio(median(one), median(other)) > 1


SINGLE = Case("1 image, 64 in flight, calls/s", 1, IN_FLIGHT, "calls_per_s")
CASES = (
    SINGLE,
    Case("64 images, 64 in flight, calls/s", 64, IN_FLIGHT, "calls_per_s"),
    Case("1 image, 1 in flight, median, ms", 1, 1, "p50_ms"),
)


class Server:
    """One of the servers: ready, and found to answer as onnxruntime does."""

    def __init__(self, address: str, protocol: Protocol, folder: Path, process: PeerProcess | None = None) -> None:
        self._address, self._protocol, self._folder, self._process = address, protocol, folder, process
        folder.mkdir()

    def check(self, images: Images, codings: Images) -> None:
        """Ask until the first answer comes, and compare it; keep the request for the load."""
        request = self._protocol.request(images)
        answer = self._protocol.codings(self._first_answer(request))
        np.testing.assert_allclose(np.frombuffer(answer, np.float32).reshape(codings.shape), codings, atol=ATOL)
        (self._folder / f"{len(images)}").write_bytes(request)

    def measure(self, case: Case, duration_s: float) -> float:
        """Load it."""
        request = self._folder / f"{case.rows}"
        flags = ("--in-flight", str(case.in_flight), "--duration-s", str(duration_s))
        return run_side(self._protocol.load, self._address, self._protocol.method, request, *flags)[case.figure]

    def pause(self) -> None:
        """Leave the machine to others."""
        if self._process:
            self._process.pause()

    def resume(self) -> None:
        """Go on."""
        if self._process:
            self._process.resume()

    def _first_answer(self, request: bytes) -> bytes:
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return self._protocol.call(self._address, self._protocol.method, request)
            except (OSError, grpc.RpcError):
                if self._process:
                    self._process.check()
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.2)


def start(options: argparse.Namespace, folder: Path, stack: ExitStack) -> tuple[str, dict[str, Server]]:
    """Start all servers, check their answers, and hold the peers still; return our address and the servers."""
    graph = options.models / "stacked" / "1" / "encoder.onnx"
    encode, rng = Encoder(graph), np.random.default_rng(0)
    payloads = [rng.random((rows, 1, 28, 28), np.float32) for rows in sorted({case.rows for case in CASES})]
    address = stack.enter_context(serve(copy_models(options.models, folder / "models", 1), *FLAGS)).address
    servers = {OURS: Server(address, LATENTRY, folder / OURS)}
    for key in options.peers:
        python = options.environments / key / "bin" / "python"
        for name, flags in ((key, ()), (f"{key}, batching", ("--batching",))):
            process = stack.enter_context(serve_peer(python, f"{key}_side", graph, folder / f"{name}.log", *flags))
            servers[name] = Server(process.address, PEERS[key].protocol, folder / name, process)
    for server in servers.values():
        for images in payloads:
            server.check(images, encode(images))
        server.pause()
    return address, servers


def play_round(address: str, servers: Mapping[str, Server], duration_s: float, figures: Figures) -> None:
    """Measure every case of every server once."""
    for case in CASES:
        for name, server in servers.items():
            server.resume()
            figure = server.measure(case, duration_s)
            server.pause()
            figures.setdefault(name, {}).setdefault(case.name, []).append(figure)
    flags = ("--tasks", str(IN_FLIGHT), "--duration-s", str(duration_s))
    calls_per_s = run_side("merging", address, *flags)["calls_per_s"]
    figures.setdefault(OUR_SDK, {}).setdefault(SINGLE.name, []).append(calls_per_s)


def table(figures: Figures, peers: list[str]) -> Table:
    """Each case of each peer: both sides' medians, the rounds' ratios, and the goal."""
    result = Table("peer", "case", "latentry", "peer", "its better", "times as fast", "rounds", "goal", "reached")
    for key in peers:
        for ours, case in ((OURS, SINGLE), (OUR_SDK, SINGLE), *((OURS, case) for case in CASES[1:])):
            plain, batching = figures[key][case.name], figures[f"{key}, batching"][case.name]
            theirs, how = (batching, "batching") if case.better(batching, plain) else (plain, "plain")
            mine = figures[ours][case.name]
            ratios = [case.ratio(one, other) for one, other in zip(mine, theirs, strict=True)]
            goal = GOAL if (ours, case) == (OURS, SINGLE) else None
            result.add_row(
                PEERS[key].name,
                case.name if ours == OURS else f"{case.name}, by {ours}",
                f"{median(mine):,.4g}",
                f"{median(theirs):,.4g}",
                how,
                f"{median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"at least {goal:g}" if goal else "",
                ("yes" if median(ratios) >= goal else "no") if goal else "",
            )
    return result


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.peers")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--environments", type=Path, default=Path(".cache/peers"), help="one folder a peer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=2.0, help="of each measurement in each round")
    parser.add_argument("--quick", action="store_true", help="one round of half a second each")
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/peers.json"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.duration_s = 1, 0.5

    console, machine = Console(), describe_machine()
    figures: Figures = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        address, servers = start(options, Path(folder), stack)
        for number in range(options.rounds):
            console.print(f"round {number + 1} of {options.rounds}", style="dim")
            play_round(address, servers, options.duration_s, figures)
    report = {"machine": machine, "rounds": options.rounds, "duration_s": options.duration_s, "figures": figures}
    save(report, options.output)
    console.print(machine, table(figures, options.peers), f"{options.output}")


if __name__ == "__main__":
    main()
