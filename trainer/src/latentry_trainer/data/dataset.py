"""What every source of images becomes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]

MIN_IMAGES = 10
_ORDER_SEED = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images and their labels, in three splits."""

    name: str
    """Its source's name."""
    images: Tensor
    """Images, uint8 [N, C, H, W], where 0 to 255 stands for [0, 1]; or vectors, float32 [N, D] in [0, 1]."""
    labels: Tensor | None
    """int64 [N], or None where the source has no labels."""
    label_names: tuple[str, ...]
    """Names by label; empty where the source has no labels."""
    splits: Mapping[Split, slice]
    """The rows of each split."""
    held_out_label: int | None = None
    """The class that only test images are of; see `hold_out`."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, (channels, height, width), or of one vector, (values,)."""
        return tuple(self.images.shape[1:])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the images' bytes, then the labels' (int64, little-endian)."""
        digest = sha256(self.images.numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def images_of(self, split: Split) -> Tensor:
        """Images or vectors of a split, in their stored form; see `to_floats`."""
        return self.images[self.splits[split]]

    def labels_of(self, split: Split) -> Tensor | None:
        """Labels of a split, int64 [N], or None."""
        return None if self.labels is None else self.labels[self.splits[split]]

    def with_first_train_images(self, num_images: int) -> "Dataset":
        """The same data set with the first `num_images` of its training images, and all others.

        Raises:
            ValueError: It has fewer.
        """
        rows = self.splits["train"]
        if num_images > rows.stop - rows.start:
            raise ValueError(
                f"option --data.num_train_images: data set {self.name} has {rows.stop - rows.start} training images, "
                f"got {num_images}"
            )
        return replace(self, splits={**self.splits, "train": slice(rows.start, rows.start + num_images)})


def to_floats(images: Tensor) -> Tensor:
    """Images as a data set stores them -> float32 in [0, 1]."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def with_own_splits(
    name: str, images: np.ndarray, labels: np.ndarray | None, label_names: tuple[str, ...] = ()
) -> Dataset:
    """A data set from a source that has no splits: 80 % train, 10 % validation, 10 % test.

    The order is shuffled first, always in the same way for the same number of images.

    Args:
        name: The source's name.
        images: In the form of `Dataset.images`.
        labels: Whole numbers [N], or None.
        label_names: Names by label.

    Raises:
        ValueError: There are too few images to split.
    """
    num_images = len(images)
    if num_images < MIN_IMAGES:
        raise ValueError(f"data set {name}: {num_images} images, expected at least {MIN_IMAGES}")
    order = np.random.default_rng(_ORDER_SEED).permutation(num_images)
    num_held_out = num_images // 10
    test = num_images - num_held_out
    validation = test - num_held_out
    return Dataset(
        name=name,
        images=torch.from_numpy(images[order]),
        labels=None if labels is None else torch.from_numpy(labels[order].astype(np.int64)),
        label_names=label_names,
        splits={
            "train": slice(0, validation),
            "validation": slice(validation, test),
            "test": slice(test, num_images),
        },
    )
