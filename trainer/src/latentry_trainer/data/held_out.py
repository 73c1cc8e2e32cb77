"""One class kept from training, to see whether its images are noticed as unusual."""

from dataclasses import replace

import torch

from latentry_trainer.data.dataset import Dataset, Split

_OPTION = "option --data.held_out_label"


def hold_out(dataset: Dataset, label: str) -> Dataset:
    """Leaves a class out of training and validation images; test images stay as they are.

    Args:
        dataset: With labels.
        label: The class's name or, where no class has that name, its number.

    Raises:
        ValueError: There is no such class, or no image is left in a split, or the test images are not of it and others.
    """
    if dataset.labels is None:
        raise ValueError(f"{_OPTION}: data set {dataset.name} has no labels, got {label!r}")
    number = _number(dataset, label)
    is_other = dataset.labels != number
    kept = {split: is_other[rows] | (split == "test") for split, rows in dataset.splits.items()}
    _check(dataset, label, number, {split: int(rows.sum()) for split, rows in kept.items()})
    splits: dict[Split, slice] = {}
    start = 0
    for split, rows in kept.items():
        stop = start + int(rows.sum())
        splits[split] = slice(start, stop)
        start = stop
    return replace(
        dataset,
        images=torch.cat([dataset.images_of(split)[rows] for split, rows in kept.items()]),
        labels=torch.cat([dataset.labels[dataset.splits[split]][rows] for split, rows in kept.items()]),
        splits=splits,
        held_out_label=number,
    )


def _number(dataset: Dataset, label: str) -> int:
    """The class's number."""
    names = dataset.label_names
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    known = ", ".join(name if name == str(number) else f"{number} {name}" for number, name in enumerate(names))
    raise ValueError(f"{_OPTION}: expected a label of data set {dataset.name} ({known}), got {label!r}")


def _check(dataset: Dataset, label: str, number: int, num_kept: dict[Split, int]) -> None:
    for split, num_images in num_kept.items():
        if num_images == 0:
            raise ValueError(f"{_OPTION}: data set {dataset.name} has {split} images of {label!r} only")
    labels = dataset.labels_of("test")
    assert labels is not None, "checked before"
    num_held_out = int((labels == number).sum())
    if num_held_out in (0, len(labels)):
        raise ValueError(
            f"{_OPTION}: {num_held_out} of the {len(labels)} test images of data set {dataset.name} are of {label!r}, "
            "expected some of it and some of others"
        )
