"""One's own images or vectors in a NumPy archive."""

from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError  # noqa: N812 (an exception's name)

import numpy as np

from latentry_trainer.data.dataset import Dataset, with_own_splits

_NUM_CHANNELS = (1, 3)

# What NumPy and zipfile raise for files that are damaged, encrypted, too large, or no archives.
_UNREADABLE = (
    OSError,
    EOFError,
    BadZipFile,
    ZlibError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
)


def load(path: Path) -> Dataset:
    """Reads `images` and, where there, `labels`; split by `with_own_splits`.

    Args:
        path: An .npz file. `images` [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, or vectors [N, D];
            uint8 or floats in [0, 1]; `labels` whole numbers [N] from 0.

    Raises:
        ValueError: The file or an array is not as expected. Pickled objects are never loaded.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("images", "labels") if name in archive}
    except _UNREADABLE as error:
        raise ValueError(f"option --data.path: cannot read {path} as an .npz file: {error}") from error
    if "images" not in arrays:
        raise ValueError(f"option --data.path: {path} has no array `images`")
    images = _images(arrays["images"], path)
    labels = arrays.get("labels")
    if labels is None:
        return with_own_splits("npz", images, None)
    _check_labels(labels, len(images), path)
    return with_own_splits("npz", images, labels, tuple(str(label) for label in range(int(labels.max()) + 1)))


def _images(array: np.ndarray, path: Path) -> np.ndarray:
    """Any accepted form -> images, uint8 [N, C, H, W], or vectors [N, D], uint8 or float32."""
    array = _shaped(array, path)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"option --data.path: `images` of {path} is {array.dtype}, expected uint8 or floats in [0, 1]")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"option --data.path: `images` of {path} has values from {array.min()} to {array.max()}, expected finite "
            "floats in [0, 1]"
        )
    is_vectors = array.ndim == 2  # these are kept as exact as they come; a pixel has one of 256 values
    return array.astype(np.float32, order="C") if is_vectors else np.rint(array * 255).astype(np.uint8, order="C")


def _shaped(array: np.ndarray, path: Path) -> np.ndarray:
    """Any accepted shape -> [N, C, H, W] or [N, D]."""
    match array.shape if array.size else ():
        case (_, _):
            return array
        case (_, _, _):
            return array[:, np.newaxis]
        case (_, num_channels, _, _) if num_channels in _NUM_CHANNELS:
            return array
        case (_, _, _, num_channels) if num_channels in _NUM_CHANNELS:
            return array.transpose(0, 3, 1, 2)
    raise ValueError(
        f"option --data.path: `images` of {path} has the shape {array.shape}, expected [N, H, W], [N, C, H, W] or "
        "[N, H, W, C] with 1 or 3 channels, or vectors [N, D]"
    )


def _check_labels(labels: np.ndarray, num_images: int, path: Path) -> None:
    """Labels are whole numbers [N] from 0, fewer than images."""
    if labels.shape != (num_images,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"option --data.path: `labels` of {path} is {labels.dtype} {labels.shape}, expected whole numbers "
            f"({num_images},)"
        )
    if labels.min() < 0 or labels.max() >= num_images:
        raise ValueError(
            f"option --data.path: `labels` of {path} go from {labels.min()} to {labels.max()}, expected 0 to at most "
            f"{num_images - 1}"
        )
