"""What is measured: a variant on a split of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentry_trainer.data import Dataset, Split, to_floats
from latentry_trainer.variants import Batch, Variant

_BATCH_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A variant, and the images that it is measured on."""

    variant: Variant
    """On `device`, in eval mode."""
    dataset: Dataset
    """Holds the split."""
    split: Split
    """Whose images are measured."""
    device: torch.device
    """The variant's."""
    seed: int = 0
    """Of all noise: the same seed gives the same figures."""

    @property
    def images(self) -> Tensor:
        """The split's images in their stored form."""
        return self.dataset.images_of(self.split)

    def generator(self) -> Generator:
        """A fresh source of randomness on the device."""
        return Generator(self.device).manual_seed(self.seed)

    def batches(self) -> Iterator[Batch]:
        """The split in order, up to 1 000 rows at a time, on the device."""
        generator = self.generator()
        labels = self.dataset.labels_of(self.split)
        for start in range(0, len(self.images), _BATCH_ROWS):
            rows = slice(start, start + _BATCH_ROWS)
            yield Batch(
                inputs=to_floats(self.images[rows].to(self.device)),
                labels=None if labels is None else labels[rows].to(self.device),
                generator=generator,
            )
