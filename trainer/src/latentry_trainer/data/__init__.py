"""Where images come from. Every source becomes a `Dataset`."""

from pathlib import Path

from latentry_trainer.config import DataConfig
from latentry_trainer.data import digits, fashion_mnist, folder, npz
from latentry_trainer.data.dataset import Dataset, Split, to_floats


def load_dataset(config: DataConfig) -> Dataset:
    """Loads the data set that a configuration names.

    Raises:
        ValueError: It is not there or not as expected.
    """
    match config.name, config.path:
        case "fashion-mnist", None:
            return fashion_mnist.load()
        case "digits", None:
            return digits.load()
        case "npz", Path() as path:
            return npz.load(path)
        case "folder", Path() as path:
            return folder.load(path, image_size=config.image_size, greyscale=config.greyscale, strict=config.strict)
    needs = "takes no path" if config.path else "needs a path"
    raise ValueError(f"option --data.path: data set {config.name} {needs}, got {config.path}")


__all__ = ["Dataset", "Split", "load_dataset", "to_floats"]
