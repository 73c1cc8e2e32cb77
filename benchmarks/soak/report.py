"""What a soak leaves: tables, and a plot of the memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.soak.watch import Sample, slope_kib_per_h

_ENDS = ("right", "wrong", "unexpected", "refused", "cancelled", "late", "away")


def figures_of(samples: Sequence[Sample], *, warm_up_s: float) -> dict[str, float | list[int]]:
    """Say what the processes held at the end of the warm-up and at the end, and how memory grew between."""
    warm = [sample for sample in samples if sample.at_s >= warm_up_s]
    first, last = warm[0], warm[-1]
    return {
        "memory after the warm-up, MiB": round(first.resident_kib / 1024, 1),
        "memory at the end, MiB": round(last.resident_kib / 1024, 1),
        "memory, KiB an hour": round(slope_kib_per_h(warm)),
        "files, first and last": [first.files, last.files],
        "threads, first and last": [first.threads, last.threads],
    }


def tables(report: Mapping[str, Any]) -> str:
    """Lay out calls by kind, what must not be, and the figures, in Markdown."""
    calls = [[kind, *(str(ends.get(end, 0)) for end in _ENDS)] for kind, ends in sorted(report["ends"].items())]
    complaints = [
        f"- {what}: {len(at_s)} times, first after {at_s[0]} s, last after {at_s[-1]} s"
        for what, at_s in report["unexpected"].items()
    ]
    figures = [[what, str(figure)] for what, figure in report["figures"].items()]
    return "\n".join([*_table(["calls", *_ENDS], calls), "", *complaints, "", *_table(["what", "figure"], figures)])


def plot(samples: Sequence[Sample], path: Path, *, warm_up_s: float) -> None:
    """Draw the memory over time."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([s.at_s / 60 for s in samples], [s.resident_kib / 1024 for s in samples])
    axes.axvspan(0, warm_up_s / 60, alpha=0.2, label="warm-up")
    axes.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, None))
    axes.legend()
    figure.savefig(path)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
