"""The pictures that show what a variant does: reconstructions, denoising, interpolation, samples, mixing."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional

from latentry_trainer.report.grids import as_images, write_grid
from latentry_trainer.report.mixing import draw_mixes
from latentry_trainer.variants import Autoencoder, Batch, Classifier, Denoising, GANEncoder, Generative, Variant

NUM_COLUMNS = 10
NUM_INPUTS = 2 * NUM_COLUMNS
_NUM_SAMPLES = 6 * NUM_COLUMNS
_CORNERS = (3, 4)  # rows and columns of images that are interpolated between; two images come between neighbours


@torch.no_grad()
def draw(variant: Variant, inputs: Tensor, labels: Tensor | None = None, *, seed: int = 0) -> Mapping[str, Tensor]:
    """Draws the variant's pictures, the same noise and codings for the same seed.

    Args:
        variant: In any state of training; left in eval mode.
        inputs: Images [N, C, H, W] or vectors [N, D] in [0, 1] on the variant's device.
        labels: int64 [N]; with them, interpolation is between images of different classes, and a GAN that takes labels
            has those that it generates encoded images again by.
        seed: Of the noise and the codings.

    Returns:
        Images [M, C, H, W] or vectors [M, D] to lay out in rows of 10, by the picture's name: `reconstructions` (a row
        of originals, a row of what became of them, …), `denoising` (originals, corrupted, denoised, …),
        `interpolation` (see `_interpolate`; of at least 12 inputs), `samples` (where there is a prior to draw from; a
        variant that takes labels has a class in each column), `classes` (a classifier's inputs, in the order of what
        they are taken for).
    """
    variant.eval()
    generator = Generator(inputs.device).manual_seed(seed)
    pictures = {}
    if isinstance(variant, Autoencoder):
        if isinstance(variant, Denoising):
            noisy = variant.corrupt(Batch(inputs=inputs, generator=generator))
            pictures["denoising"] = _in_turn(inputs, noisy, variant.reconstruct(noisy))
        else:
            pictures["reconstructions"] = _in_turn(inputs, variant.reconstruct(inputs))
        if len(inputs) >= prod(_CORNERS):
            pictures["interpolation"] = _interpolate(variant, inputs[_classes_in_turn(inputs, labels)])
    if isinstance(variant, GANEncoder):
        batch = Batch(inputs=inputs, labels=None if labels is None else labels.to(inputs.device), generator=generator)
        pictures["reconstructions"] = _in_turn(inputs, variant.reconstruct(inputs, variant.gan.labels_of(batch)))
    if isinstance(variant, Generative) and variant.can_sample:
        pictures["samples"] = variant.sample(_NUM_SAMPLES, generator, _classes_by_column(variant, inputs.device))
    if isinstance(variant, Generative) and variant.style is not None:
        pictures["mixing"] = draw_mixes(variant, generator, NUM_COLUMNS)
    if isinstance(variant, Classifier):
        pictures["classes"] = inputs[variant.classes(variant.features(inputs)).argmax(dim=1).argsort(stable=True)]
    return pictures


def write_pictures(
    folder: Path, variant: Variant, inputs: Tensor, labels: Tensor | None = None, *, images_seen: int, seed: int = 0
) -> None:
    """Writes the variant's pictures to `folder/<picture>-<images_seen>.png`; see `draw`."""
    for name, images in draw(variant, inputs, labels, seed=seed).items():
        path = folder / f"{name}-{images_seen:09d}.png"
        write_grid(path, as_images(images.cpu().numpy()), num_columns=NUM_COLUMNS)


def _classes_by_column(variant: Generative, device: torch.device) -> Tensor | None:
    """Labels of the samples, int64 [60]: the first class in the first column …; None where the variant takes none."""
    if not variant.num_labels:
        return None
    columns = torch.arange(NUM_COLUMNS, device=device) % variant.num_labels
    return columns.repeat(_NUM_SAMPLES // NUM_COLUMNS)


def _in_turn(*sets: Tensor) -> Tensor:
    """A row of the first set, a row of the second …, then the next rows."""
    starts = range(0, len(sets[0]), NUM_COLUMNS)
    return torch.cat([images[start : start + NUM_COLUMNS] for start in starts for images in sets])


def _interpolate(variant: Autoencoder, inputs: Tensor) -> Tensor:
    """Images [70, *input] in 7 rows: every third of every third row is a reconstruction, others are between them."""
    codings = variant.encode(inputs[: prod(_CORNERS)])
    corners = codings.flatten(1).T.reshape(1, -1, *_CORNERS)  # [1, prod(codings), 3, 4]
    size = [3 * count - 2 for count in _CORNERS]
    between = functional.interpolate(corners, size, mode="bilinear", align_corners=True)
    return variant.decode(between.flatten(2)[0].T.reshape(-1, *codings.shape[1:]))


def _classes_in_turn(inputs: Tensor, labels: Tensor | None) -> list[int]:
    """An order of the inputs: the first of each class, the second of each class, and so on."""
    if labels is None:
        return [*range(len(inputs))]
    classes = labels.tolist()
    return sorted(range(len(classes)), key=lambda i: (classes[:i].count(classes[i]), classes[i]))
