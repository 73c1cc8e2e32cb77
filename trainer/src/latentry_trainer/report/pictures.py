"""The pictures that show what a variant does: reconstructions, denoising, samples."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor

from latentry_trainer.evaluation import Corrupting
from latentry_trainer.report.grids import as_images, write_grid
from latentry_trainer.variants import Autoencoder, Batch, Generative, Variant

NUM_COLUMNS = 10
NUM_INPUTS = 2 * NUM_COLUMNS
_NUM_SAMPLES = 6 * NUM_COLUMNS


@torch.no_grad()
def draw(variant: Variant, inputs: Tensor, *, seed: int = 0) -> Mapping[str, Tensor]:
    """Draws the variant's pictures, the same noise and codings for the same seed.

    Args:
        variant: In any state of training; left in eval mode.
        inputs: Images [N, C, H, W] or vectors [N, D] in [0, 1] on the variant's device.
        seed: Of the noise and the codings.

    Returns:
        Images [M, C, H, W] or vectors [M, D] to lay out in rows of 10, by the picture's name: `reconstructions` (a row
        of originals, a row of what became of them, …), `denoising` (originals, corrupted, denoised, …), `samples`.
    """
    variant.eval()
    generator = Generator(inputs.device).manual_seed(seed)
    pictures = {}
    if isinstance(variant, Autoencoder):
        if isinstance(variant, Corrupting):
            noisy = variant.corrupt(Batch(inputs=inputs, generator=generator))
            pictures["denoising"] = _in_turn(inputs, noisy, variant.reconstruct(noisy))
        else:
            pictures["reconstructions"] = _in_turn(inputs, variant.reconstruct(inputs))
    if isinstance(variant, Generative) and "SAMPLE" in variant.capabilities:
        pictures["samples"] = variant.sample(_NUM_SAMPLES, generator)
    return pictures


def write_pictures(folder: Path, variant: Variant, inputs: Tensor, *, images_seen: int, seed: int = 0) -> None:
    """Writes the variant's pictures to `folder/<picture>-<images_seen>.png`; see `draw`."""
    for name, images in draw(variant, inputs, seed=seed).items():
        path = folder / f"{name}-{images_seen:09d}.png"
        write_grid(path, as_images(images.cpu().numpy()), num_columns=NUM_COLUMNS)


def _in_turn(*sets: Tensor) -> Tensor:
    """A row of the first set, a row of the second …, then the next rows."""
    starts = range(0, len(sets[0]), NUM_COLUMNS)
    return torch.cat([images[start : start + NUM_COLUMNS] for start in starts for images in sets])
