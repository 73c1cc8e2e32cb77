"""Measures a variant on a split of a data set."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from latentry_trainer.data import Dataset, Split
from latentry_trainer.evaluation.metrics import Moments, mean_squared_error, psnr_db, root_mean_squared_error
from latentry_trainer.variants import Autoencoder, Variant

_BATCH_ROWS = 1000


@runtime_checkable
class Corrupting(Protocol):
    """A variant that is trained on corrupted inputs."""

    def corrupt(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Images [N, *input] -> corrupted images [N, *input]."""
        ...


@torch.no_grad()
def evaluate(
    variant: Variant, dataset: Dataset, split: Split, device: torch.device, *, seed: int = 0
) -> dict[str, float]:
    """Measures the variant, which is on `device` and left in eval mode. The same seed gives the same figures.

    Figures are means over the split's images:

    - the variant's own, `Variant.validation_metrics`: bce, rounded_accuracy; a VAE's loss and kl, per value;
    - autoencoders: mse and psnr_db of the reconstruction (a VAE's: from the mean of the coding);
    - trained on corrupted inputs: noisy_psnr_db of inputs corrupted as in training, denoised_psnr_db of their
      reconstructions;
    - models that sample: sample_mean_rmse and sample_std_rmse, how far mean and standard deviation of each pixel over
      as many samples as there are images are from the images'.
    """
    variant.eval()
    generator = Generator(device).manual_seed(seed)
    sums: dict[str, float] = {}
    reals, samples = Moments(), Moments()
    images = dataset.images_of(split)
    for inputs in _batches(images, device):
        for name, value in _measure(variant, inputs, generator).items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(inputs)
        if "SAMPLE" in variant.capabilities:
            reals.add(inputs)
            samples.add(variant.sample(len(inputs), generator))
    figures = {name: total / len(images) for name, total in sums.items()}
    if "SAMPLE" in variant.capabilities:
        figures["sample_mean_rmse"] = root_mean_squared_error(samples.mean(), reals.mean()).item()
        figures["sample_std_rmse"] = root_mean_squared_error(samples.std(), reals.std()).item()
    return figures


def _measure(variant: Variant, inputs: Tensor, generator: Generator) -> dict[str, Tensor]:
    """Figures of a batch, each a scalar."""
    figures = dict(variant.validation_metrics(inputs, generator))
    if isinstance(variant, Autoencoder):
        outputs = variant.reconstruct(inputs)
        figures["mse"] = mean_squared_error(outputs, inputs).mean()
        figures["psnr_db"] = psnr_db(outputs, inputs).mean()
        if isinstance(variant, Corrupting):
            noisy = variant.corrupt(inputs, generator)
            figures["noisy_psnr_db"] = psnr_db(noisy, inputs).mean()
            figures["denoised_psnr_db"] = psnr_db(variant.reconstruct(noisy), inputs).mean()
    return figures


def _batches(images: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Images uint8 [N, C, H, W] -> batches, float32 in [0, 1], on the device."""
    for start in range(0, len(images), _BATCH_ROWS):
        yield images[start : start + _BATCH_ROWS].to(device).float() / 255
