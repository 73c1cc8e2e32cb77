"""The plots of the page over many runs, and their samples side by side."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from latentry_trainer.report.curves import Curve
from latentry_trainer.report.style import COLOURS, GREY, save, tidy

_LIMITS = (0.255, 0.42)  # of cross-entropy: from the data's entropy to a code of 16 bits
_NUM_GRID_ROWS = 6  # of samples
_STYLES = ("-", "--", ":")  # more runs than colours take the colours again


def draw_cross_entropies(path: Path, curves: Mapping[str, Curve]) -> None:
    """Draws a PNG of validation cross-entropy over images seen, a curve a run, by the run's name."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, points) in enumerate(curves.items()):
        style = _STYLES[index // len(COLOURS) % len(_STYLES)]
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(*zip(*points, strict=True), style, color=colour, linewidth=1.4, label=name)
    axes.set_xscale("log")
    axes.set_ylim(*_LIMITS)
    tidy(axes, "validation cross-entropy per pixel, over images seen")
    axes.legend(frameon=False, labelcolor=GREY, fontsize=7, ncols=2)
    save(figure, path)


def draw_distances(path: Path, distances: Mapping[str, float], *, floor: float, ceiling: float) -> None:
    """Draws a PNG of samples' distances from images, a bar a run, the nearest first; floor and ceiling are lines."""
    nearest_first = sorted(distances, key=lambda name: distances[name])
    figure = Figure(figsize=(9, 0.6 + 0.26 * len(nearest_first)), layout="constrained")
    axes = figure.subplots()
    axes.barh(nearest_first, [distances[name] for name in nearest_first], color=COLOURS[0])
    for value, colour in ((floor, COLOURS[2]), (ceiling, COLOURS[1])):
        axes.axvline(value, color=colour, linewidth=1.2)
    axes.set_xscale("log")
    axes.invert_yaxis()
    tidy(axes, "Fréchet distance of samples in our classifier's features; lines: training images, noise")
    save(figure, path)


def draw_sample_rows(path: Path, grids: Mapping[str, Path]) -> None:
    """Draws a PNG of the first row of each run's grid of samples, by the run's name."""
    figure = Figure(figsize=(9, 0.75 * len(grids)), layout="constrained")
    panels = figure.subplots(len(grids), 1, squeeze=False)[:, 0]
    for axes, (name, grid) in zip(panels, grids.items(), strict=True):
        with Image.open(grid) as picture:
            axes.imshow(picture.convert("RGB").crop((0, 0, picture.width, picture.height // _NUM_GRID_ROWS)))
        axes.set_ylabel(name, rotation=0, horizontalalignment="right", verticalalignment="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    save(figure, path)
