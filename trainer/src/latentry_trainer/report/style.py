"""How figures look: readable on light and dark pages, and by colour-blind readers."""

from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Paul Tol's "bright" scheme: made for colour-blind readers, and seen on white as on dark. More than seven classes take
# the colours again with another marker.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")

# Text and axes: a contrast of at least 4 to 1 on white as on the report's dark background.
GREY = "#7b8088"


def save(figure: Figure, target: Path | BinaryIO) -> None:
    """Writes the figure as a PNG with a transparent background."""
    figure.savefig(target, format="png", dpi=130, transparent=True)


def tidy(axes: Axes, title: str) -> None:
    """Gives a panel its title, quiet axes and a grid."""
    axes.set_title(title, fontsize=10, color=GREY, loc="left")
    axes.set_facecolor("none")
    axes.tick_params(colors=GREY, labelsize=8)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
