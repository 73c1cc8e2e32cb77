"""A map of the codings: t-SNE (van der Maaten & Hinton 2008) in the plane, one colour a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from latentry_trainer.report.style import COLOURS, GREY, MARKERS, save

MIN_CODINGS, MAX_CODINGS = 5, 2000
_MAX_NAMES, _MAX_NAME_LENGTH = 30, 30  # what fits beside the map
_THUMBNAIL_POINTS = 22  # longer side of an image on the map
_THUMBNAIL_DISTANCE = 0.065  # of the map's width: closer to one that is drawn, an image is left out


def embed(codings: NDArray[np.floating], *, seed: int = 0) -> NDArray[np.float64]:
    """Places codings in the unit square so that neighbours stay neighbours: [N, *codings] -> [N, 2].

    N is MIN_CODINGS to MAX_CODINGS: the time grows with N log N, a few seconds at the most.
    """
    if not MIN_CODINGS <= len(codings) <= MAX_CODINGS:
        raise ValueError(f"codings: expected {MIN_CODINGS} to {MAX_CODINGS} rows, got {len(codings)}")
    perplexity = min(30.0, (len(codings) - 1) / 4)
    rows = codings.reshape(len(codings), -1)
    # Two principal components start the map where there are two: scikit-learn crashes on codings that are all alike.
    init = "pca" if np.count_nonzero(np.ptp(rows, axis=0)) >= 2 else "random"
    points = TSNE(init=init, perplexity=perplexity, random_state=seed).fit_transform(rows)
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - low) / np.maximum(high - low, 1e-12), dtype=np.float64)


def write_map(
    path: Path,
    points: NDArray[np.floating],
    labels: NDArray[np.integer] | None = None,
    label_names: Sequence[str] = (),
    images: NDArray[np.floating] | None = None,
) -> None:
    """Draws the map as a PNG.

    Args:
        path: The file.
        points: [N, 2] in the unit square.
        labels: [N], 0 to the number of names - 1; without them all points have one colour.
        label_names: By label number.
        images: [N, C, H, W] in [0, 1], C 1 or 3: some are drawn where they lie.
    """
    figure = Figure(figsize=(8.5, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=14, color=COLOURS[0], linewidths=0)
    else:
        for label in np.unique(labels):
            colour, marker = COLOURS[label % len(COLOURS)], MARKERS[label // len(COLOURS) % len(MARKERS)]
            x, y = points[labels == label].T
            axes.scatter(x, y, s=14, color=colour, marker=marker, linewidths=0, label=_plain(label_names[label]))
        if len(label_names) <= _MAX_NAMES:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelcolor=GREY, markerscale=2)
    if images is not None:
        for i in _apart(points):
            axes.add_artist(_thumbnail(images[i], points[i]))
    save(figure, path)


def _plain(name: str) -> str:
    """A folder's name as Matplotlib shows it: a $ would begin a formula, a leading underscore hide the name."""
    return " " + name[:_MAX_NAME_LENGTH].replace("$", r"\$")


def _thumbnail(image: NDArray[np.floating], point: NDArray[np.floating]) -> AnnotationBbox:
    """An image [C, H, W] at its point; grey ones are drawn dark on white, as ink."""
    pixels = 1 - image.repeat(3, axis=0) if len(image) == 1 else image
    picture = OffsetImage(pixels.transpose(1, 2, 0), zoom=_THUMBNAIL_POINTS / max(image.shape[1:]))
    return AnnotationBbox(picture, (point[0], point[1]), pad=0.05, bboxprops={"edgecolor": GREY, "linewidth": 0.4})


def _apart(points: NDArray[np.floating]) -> list[int]:
    """Indices of points none of which is close to another."""
    chosen: list[int] = []
    for i, point in enumerate(points):
        if all(np.hypot(*(point - points[j])) > _THUMBNAIL_DISTANCE for j in chosen):
            chosen.append(i)
    return chosen
