"""Fits the prior of an autoencoder that has been trained without one."""

import torch

from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.variants import Autoencoder, Variant

_MAX_CODINGS = 20_000  # a few seconds
_BATCH_ROWS = 1000


@torch.no_grad()
def fit_prior(variant: Variant, dataset: Dataset, *, seed: int) -> None:
    """Fits the mixture to codings of training images, evenly spaced ones where there are many.

    Variants that need no such prior are left as they are; the others are left in eval mode.
    """
    if not isinstance(variant, Autoencoder) or not variant.fits_prior:
        return
    variant.eval()
    device = next(variant.parameters()).device
    images = dataset.images_of("train")
    batches = torch.split(images[:: -(-len(images) // _MAX_CODINGS)], _BATCH_ROWS)
    variant.prior.fit(torch.cat([variant.encode(to_floats(batch.to(device))) for batch in batches]), seed=seed)
