"""What the codings of an autoencoder look like: a map of them, and how active their units are."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.report.grids import as_images
from latentry_trainer.report.style import COLOURS, GREY, save, tidy
from latentry_trainer.report.tsne import MIN_CODINGS, embed, write_map
from latentry_trainer.variants import Autoencoder

MAP_FILE = "tsne.png"
ACTIVATIONS_FILE = "activations.png"

_NUM_MAPPED = 1_500  # about three seconds
_NUM_BINS = 30


@torch.no_grad()
def write_codings(folder: Path, variant: Autoencoder, dataset: Dataset) -> None:
    """Draws codings of test images: their histograms, `activations.png`, and where there are enough a map, `tsne.png`.

    The variant is on the CPU, in eval mode.
    """
    inputs = to_floats(dataset.images_of("test")[:_NUM_MAPPED])
    labels = dataset.labels_of("test")
    codings = variant.encode(inputs).flatten(1).numpy()
    write_activations(folder / ACTIVATIONS_FILE, codings)
    if len(codings) >= MIN_CODINGS:
        write_map(
            folder / MAP_FILE,
            embed(codings),
            labels=None if labels is None else labels[:_NUM_MAPPED].numpy(),
            label_names=dataset.label_names,
            images=as_images(inputs.numpy()),
        )


def write_activations(path: Path, codings: NDArray[np.floating]) -> None:
    """Draws a PNG of two histograms: of all values of codings [N, K], and of each unit's mean, as the book does."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    values, means = figure.subplots(1, 2)
    _draw_histogram(values, "activations", codings.ravel())
    _draw_histogram(means, "mean activation of each unit", codings.mean(axis=0))
    save(figure, path)


def _draw_histogram(axes: Axes, title: str, values: NDArray[np.floating]) -> None:
    """Percentages of the values by bin, and their mean as a line."""
    mean = values.mean()
    axes.hist(values, bins=_NUM_BINS, weights=np.full(len(values), 100 / len(values)), color=COLOURS[0])
    axes.axvline(mean, color=COLOURS[1], linewidth=1.6, label=f"mean {mean:.3g}")
    axes.legend(frameon=False, labelcolor=GREY, fontsize=8)
    axes.yaxis.set_major_formatter("{x:g} %")
    tidy(axes, title)
