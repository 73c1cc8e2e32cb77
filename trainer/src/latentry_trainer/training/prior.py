"""Fits the prior of an autoencoder that has been trained without one."""

from math import prod

import torch

from latentry_trainer.data import Dataset, to_floats
from latentry_trainer.variants import Autoencoder, Variant

_MAX_CODINGS = 20_000  # a few seconds
_MAX_VALUES = 20_000_000  # in all codings: 160 MB in double precision
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
    max_codings = min(_MAX_CODINGS, max(_MAX_VALUES // prod(variant.codings_shape), 2))
    batches = torch.split(images[:: -(-len(images) // max_codings)], _BATCH_ROWS)
    variant.prior.fit(torch.cat([variant.encode(to_floats(batch.to(device))) for batch in batches]), seed=seed)
