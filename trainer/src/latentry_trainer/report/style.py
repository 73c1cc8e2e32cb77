"""How figures look: readable on light and dark pages, and by colour-blind readers."""

from pathlib import Path
from typing import BinaryIO

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
