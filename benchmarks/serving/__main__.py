"""Compares the server with its limits: a bare grpc.aio server, and onnxruntime in a process of its own.

    python -m benchmarks.serving

Everything is measured in turn, round by round, so that what else the machine does slows all sides: only ratios mean
anything. Prints a table and leaves JSON.
"""

import argparse
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import serve
from benchmarks.serving.processes import copy_models, echo, run_side
from benchmarks.serving.requests import SERVICE, STREAM_REQUESTS, write_requests

FLAGS = ("--threads", "1", "--poll-interval-s", "0")
IN_FLIGHT = 64
FEW_IN_FLIGHT = 4  # of large requests: the next ones arrive while one runs
NUM_BUNDLES, MANY_BUNDLES = 20, 100

Measure = Callable[[], float]
Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Goal:
    """A ratio of two figures, or one figure; the figure `one` over `other`, and what it must be."""

    what: str
    one: str
    other: str | None
    compare: Callable[[float, float], bool]
    bound: float

    def ratios(self, figures: Mapping[str, list[float]]) -> list[float]:
        """Each round's ratio."""
        if self.other is None:
            return figures[self.one]
        return [one / other for one, other in zip(figures[self.one], figures[self.other], strict=True)]


GOALS = (
    Goal("unary, 1 in flight: median over the echo's", "lone_ms", "echo_lone_ms", operator.le, 1.3),
    Goal("unary, 64 in flight: calls/s over the echo's", "unary_per_s", "echo_unary_per_s", operator.ge, 0.8),
    Goal("Stream, 64 in flight, over unary", "stream_per_s", "unary_per_s", operator.ge, 2.5),
    Goal("256 UINT8 images a request, over onnxruntime", "uint8_rows_per_s", "raw_rows_per_s", operator.ge, 0.7),
    Goal("conv encoder, 64 rows a request, likewise", "conv_rows_per_s", "raw_conv_rows_per_s", operator.ge, 0.9),
    Goal("dcgan decoder, 64 rows a request, likewise", "dcgan_rows_per_s", "raw_dcgan_rows_per_s", operator.ge, 0.9),
    Goal("AsyncClient, 64 tasks, over unary", "sdk_64_per_s", "unary_per_s", operator.ge, 8),
    Goal("AsyncClient, 1024 tasks, over unary", "sdk_1024_per_s", "unary_per_s", operator.ge, 30),
    Goal("a lone call over one that is not merged", "sdk_lone_ratio", None, operator.le, 1.05),
    Goal("start to ready with 20 bundles, s", "start_20_s", None, operator.le, 5),
    Goal("resident memory with 20 bundles, MiB", "resident_20_mib", None, operator.le, 400 / 1.048576),
    Goal("100 bundles loaded: calls/s of one, over 1 loaded", "unary_100_per_s", "unary_1_per_s", operator.ge, 0.95),
)


def measures(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Measure]:
    """Start all servers; return what is measured in each round, in this order."""
    seconds = ("--duration-s", str(options.duration_s))
    write_requests(folder)

    def load(address: str, method: str, *requests: str, figure: str = "calls_per_s", scale: int = 1) -> Measure:
        files, in_flight = [folder / name for name in requests if not name.startswith("-")], IN_FLIGHT
        if figure == "p50_ms":
            in_flight = 1
        elif scale > 1:
            in_flight = FEW_IN_FLIGHT
        flags = ["--in-flight", str(in_flight), *(["--stream"] if len(files) > 1 else []), *seconds]
        return lambda: scale * run_side("load", address, method, *files, *flags)[figure]

    def raw(model: str, graph: str, rows: int) -> Measure:
        file = options.models / model / "1" / f"{graph}.onnx"
        return lambda: run_side("raw", file, "--rows", str(rows), *seconds)["rows_per_s"]

    def sdk(num_tasks: int, figure: str = "calls_per_s") -> Measure:
        return lambda: run_side("merging", ours, "--tasks", str(num_tasks), *seconds)[figure]

    def start() -> Iterator[float]:
        with serve(copy_20, *FLAGS) as server:
            yield server.start_s
            yield server.resident_mib

    copy_20 = copy_models(options.models, folder / "20", NUM_BUNDLES)
    one = stack.enter_context(serve(copy_models(options.models, folder / "1", 1), *FLAGS)).address
    many = stack.enter_context(serve(copy_models(options.models, folder / "100", MANY_BUNDLES), *FLAGS)).address
    ours = stack.enter_context(serve(options.models, *FLAGS)).address
    bare = stack.enter_context(echo())
    stream = [f"stream-{number}" for number in range(STREAM_REQUESTS)]
    started: list[Iterator[float]] = []

    def start_s() -> float:
        started.append(start())
        return next(started[-1])

    return {
        "echo_lone_ms": load(bare, "/Echo/Unary", "encode-1", figure="p50_ms"),
        "lone_ms": load(ours, f"{SERVICE}/Encode", "encode-1", figure="p50_ms"),
        "echo_unary_per_s": load(bare, "/Echo/Unary", "encode-1"),
        "unary_per_s": load(ours, f"{SERVICE}/Encode", "encode-1"),
        "stream_per_s": load(ours, f"{SERVICE}/Stream", *stream),
        "sdk_64_per_s": sdk(64),
        "sdk_1024_per_s": sdk(1024),
        "sdk_lone_ratio": sdk(1, "lone_ratio"),
        "echo_stream_per_s": load(bare, "/Echo/Stream", *stream),
        "raw_rows_per_s": raw("stacked", "encoder", 256),
        "uint8_rows_per_s": load(ours, f"{SERVICE}/Encode", "encode-uint8-256", scale=256),
        "raw_conv_rows_per_s": raw("conv", "encoder", 64),
        "conv_rows_per_s": load(ours, f"{SERVICE}/Encode", "conv", scale=64),
        "raw_dcgan_rows_per_s": raw("dcgan", "decoder", 64),
        "dcgan_rows_per_s": load(ours, f"{SERVICE}/Decode", "dcgan", scale=64),
        "unary_1_per_s": load(one, f"{SERVICE}/Encode", "encode-1"),
        "unary_100_per_s": load(many, f"{SERVICE}/Encode", "encode-1"),
        "start_20_s": start_s,
        "resident_20_mib": lambda: next(started[-1]),
    }


def table(figures: Figures) -> Table:
    """Each goal, what was measured, and whether it is reached."""
    result = Table("what", "figure", "rounds", "goal", "reached")
    for goal in GOALS:
        ratios = goal.ratios(figures)
        sign = "at most" if goal.compare is operator.le else "at least"
        reached = "yes" if goal.compare(median(ratios), goal.bound) else "no"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        result.add_row(goal.what, f"{median(ratios):.2f}", spread, f"{sign} {goal.bound:.3g}", reached)
    return result


def figures_table(figures: Figures) -> Table:
    """The medians of all figures."""
    result = Table("figure", "median", "lowest", "highest")
    for name, values in figures.items():
        result.add_row(name, *(f"{value:,.4g}" for value in (median(values), min(values), max(values))))
    return result


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=2.0, help="of each measurement in each round")
    parser.add_argument("--quick", action="store_true", help="one round of half a second each")
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/serving.json"))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.duration_s = 1, 0.5

    console, machine = Console(), describe_machine()
    figures: Figures = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        todo = measures(options, Path(folder), stack)
        for _ in range(options.rounds):
            for name, measure in todo.items():
                figures.setdefault(name, []).append(measure())
                console.print(f"{name} {figures[name][-1]:,.4g}", style="dim")
    report = {"machine": machine, "rounds": options.rounds, "duration_s": options.duration_s, "figures": figures}
    save(report, options.output)
    console.print(machine, figures_table(figures), table(figures), f"{options.output}")


if __name__ == "__main__":
    main()
