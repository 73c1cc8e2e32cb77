"""The curves of a run: every metric over the training images seen."""

from collections.abc import Iterable
from io import BytesIO

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from latentry_trainer.report.style import COLOURS, GREY, save, tidy
from latentry_trainer.training.log import Metrics

_NUM_COLUMNS = 3
_LOSS_SUFFIX = "_loss"
_LOGARITHMIC = frozenset({"validation fcd"})  # it falls by powers of ten

Curve = list[tuple[int, float]]
"""Pairs of images seen and value."""


def collect_curves(lines: Iterable[Metrics]) -> dict[str, dict[str, Curve]]:
    """Returns {panel: {curve: points}}: the phases' training losses share a panel, a validation figure has its own."""
    panels: dict[str, dict[str, Curve]] = {}
    for line in lines:
        for name, value in line.values.items():
            if line.split != "train":
                panel, curve = f"{line.split} {name}", name
            elif name.endswith(_LOSS_SUFFIX):
                panel, curve = "train loss", name.removesuffix(_LOSS_SUFFIX)
            else:  # speed is no metric of the model
                continue
            panels.setdefault(panel, {}).setdefault(curve, []).append((line.images_seen, value))
    return panels


def draw_curves(panels: dict[str, dict[str, Curve]]) -> bytes:
    """Returns a PNG of the panels, at least one, each curve named where there are several."""
    num_rows = -(-len(panels) // _NUM_COLUMNS)
    figure = Figure(figsize=(10, 2.9 * num_rows), layout="constrained")
    grid = list(figure.subplots(num_rows, _NUM_COLUMNS, squeeze=False).flat)
    for axes, (title, curves) in zip(grid, panels.items(), strict=False):
        for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, label=name, marker=".", markersize=4)
        if len(curves) > 1:
            axes.legend(frameon=False, labelcolor=GREY, fontsize=8)
        if title in _LOGARITHMIC:
            axes.set_yscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        tidy(axes, title)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    content = BytesIO()
    save(figure, content)
    return content.getvalue()
