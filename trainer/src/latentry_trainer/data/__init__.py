"""Where images come from. Every source becomes a `Dataset`."""

from pathlib import Path

from latentry_trainer.config import DataConfig
from latentry_trainer.data import digits, fashion_mnist, folder, npz, toy_3d
from latentry_trainer.data.dataset import Dataset, Split, to_floats
from latentry_trainer.data.held_out import hold_out


def load_dataset(config: DataConfig) -> Dataset:
    """Loads the data set that a configuration names, a class held out and training images left out where it says so.

    Raises:
        ValueError: It is not there or not as expected.
    """
    dataset = _load(config)
    if config.held_out_label is not None:
        dataset = hold_out(dataset, config.held_out_label)
    return dataset if config.num_train_images is None else dataset.with_first_train_images(config.num_train_images)


def _load(config: DataConfig) -> Dataset:
    match config.name, config.path:
        case "fashion-mnist", None:
            return fashion_mnist.load()
        case "digits", None:
            return digits.load()
        case "toy-3d", None:
            return toy_3d.load()
        case "npz", Path() as path:
            return npz.load(path)
        case "folder", Path() as path:
            return folder.load(path, image_size=config.image_size, greyscale=config.greyscale, strict=config.strict)
    needs = "takes no path" if config.path else "needs a path"
    raise ValueError(f"option --data.path: data set {config.name} {needs}, got {config.path}")


__all__ = ["Dataset", "Split", "load_dataset", "to_floats"]
