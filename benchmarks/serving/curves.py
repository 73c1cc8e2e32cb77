"""How the server behaves along four axes: offered load, batch size, workers, loaded models.

    python -m benchmarks.serving.curves

Prints tables, and leaves JSON and a picture of the curves. As in `benchmarks.serving`, all points are measured in turn,
round by round, and each is the median over the rounds.
"""

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.report import save
from benchmarks.server_process import serve
from benchmarks.serving.processes import copy_models, run_side
from benchmarks.serving.requests import ROWS, SERVICE, write_requests

FLAGS = ("--threads", "1", "--poll-interval-s", "0")
LOADS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25)  # of what the server takes with 64 in flight
WORKERS = (1, 2)
MODELS = (1, 10, 100)
CONNECTIONS = 8

Curves = dict[str, dict[float, list[float]]]
"""Rounds' figures by curve and by the place on its axis."""


class Measurement:
    """The servers, and what is measured of them in each round."""

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self._seconds = ("--duration-s", str(options.duration_s))
        self._folder = folder
        self._graph = options.models / "stacked" / "1" / "encoder.onnx"
        self.curves: Curves = {}
        write_requests(folder)
        by_count = {count: copy_models(options.models, folder / f"models-{count}", count) for count in MODELS}
        self._by_models = {count: stack.enter_context(serve(path, *FLAGS)).address for count, path in by_count.items()}
        flags = {count: (*FLAGS, "--workers", str(count)) for count in WORKERS}
        self._by_workers = {count: stack.enter_context(serve(by_count[1], *flags[count])).address for count in WORKERS}

    def round(self) -> None:
        """Measure every point once."""
        address = self._by_models[1]
        capacity = self._load(address, "encode-1", "--in-flight", "64")["calls_per_s"]
        for part in LOADS:
            figures = self._load(address, "encode-1", "--calls-per-s", str(part * capacity))
            self._add("latency, median, ms", part, figures["p50_ms"])
            self._add("latency, 99 %, ms", part, figures["p99_ms"])
        for rows in ROWS:
            calls_per_s = self._load(address, f"encode-uint8-{rows}", "--in-flight", "4")["calls_per_s"]
            self._add("latentry, images/s", rows, rows * calls_per_s)
            raw = run_side("raw", self._graph, "--rows", str(rows), *self._seconds)
            self._add("onnxruntime, images/s", rows, raw["rows_per_s"])
        for workers, address in self._by_workers.items():
            flags = ("--in-flight", "64", "--connections", str(CONNECTIONS))
            self._add("calls/s by workers", workers, self._load(address, "encode-1", *flags)["calls_per_s"])
        for models, address in self._by_models.items():
            figures = self._load(address, "encode-1", "--in-flight", "64")
            self._add("calls/s by models", models, figures["calls_per_s"])

    def _load(self, address: str, request: str, *flags: str) -> dict[str, float]:
        return run_side("load", address, f"{SERVICE}/Encode", self._folder / request, *flags, *self._seconds)

    def _add(self, curve: str, place: float, figure: float) -> None:
        self.curves.setdefault(curve, {}).setdefault(place, []).append(figure)


def table(curves: Curves) -> Table:
    """Each point's median and range."""
    result = Table("curve", "at", "median", "rounds")
    for curve, points in curves.items():
        for place, values in points.items():
            spread = f"{min(values):,.4g} to {max(values):,.4g}"
            result.add_row(curve, f"{place:g}", f"{median(values):,.4g}", spread)
    return result


def plot(curves: Curves) -> Figure:
    """The four axes side by side, the rounds' range as a band."""
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    by_load, by_rows, by_workers, by_models = figure.subplots(1, 4)
    _draw(by_load, curves, ("latency, median, ms", "latency, 99 %, ms"), "offered load, of 64 in flight", log_y=True)
    _draw(by_rows, curves, ("latentry, images/s", "onnxruntime, images/s"), "images a request", log_y=True)
    _draw(by_workers, curves, ("calls/s by workers",), "workers")
    _draw(by_models, curves, ("calls/s by models",), "loaded models")
    for axes, points in ((by_rows, ROWS), (by_models, MODELS)):
        axes.set_xscale("log")
        axes.set_xticks(points, [str(point) for point in points])
        axes.minorticks_off()
    by_workers.set_xticks(WORKERS)
    return figure


def _draw(
    axes: Axes,
    curves: Mapping[str, Mapping[float, list[float]]],
    names: tuple[str, ...],
    place: str,
    *,
    log_y: bool = False,
) -> None:
    of_values: tuple[Callable[[list[float]], float], ...] = (min, max)
    for name in names:
        points = curves[name]
        lowest, highest = ([of(values) for values in points.values()] for of in of_values)
        axes.plot(list(points), [median(values) for values in points.values()], marker="o", label=name)
        axes.fill_between(list(points), lowest, highest, alpha=0.2)
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(place)
    axes.legend()
    axes.grid(alpha=0.3)


def main() -> None:
    """Measure, print, write JSON and the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.curves")
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=1.0, help="of each point in each round")
    parser.add_argument("--output", type=Path, default=Path(".cache/benchmarks/serving-curves.json"))
    options = parser.parse_args()
    console, machine = Console(), describe_machine()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        measurement = Measurement(options, Path(folder), stack)
        for number in range(options.rounds):
            console.print(f"round {number + 1} of {options.rounds}", style="dim")
            measurement.round()
    curves = measurement.curves
    report = {"machine": machine, "duration_s": options.duration_s, "curves": curves}
    save(report, options.output)
    plot(curves).savefig(options.output.with_suffix(".png"), dpi=110)
    console.print(machine, table(curves), f"{options.output}")


if __name__ == "__main__":
    main()
