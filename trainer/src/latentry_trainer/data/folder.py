"""One's own images in a folder: flat, or one sub-folder a class."""

import logging
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from latentry_trainer.data.dataset import Dataset, with_own_splits

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# What Pillow raises for files that are damaged, no images, or so large that they may be an attack.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)

_logger = logging.getLogger(__name__)


def load(folder: Path, *, image_size: int, greyscale: bool, strict: bool) -> Dataset:
    """Reads all images of a folder, in the order of their names; split by `with_own_splits`.

    Args:
        folder: Images, or one sub-folder of images a class; the sub-folders' names are the labels' names.
        image_size: Width and height in pixels; images are cropped around the centre and resized to it.
        greyscale: One channel instead of three.
        strict: Refuse unreadable images instead of skipping them.

    Raises:
        ValueError: There is no such folder, it has too few images, mixes images and sub-folders, or (strict) holds an
            unreadable image.
    """
    if not folder.is_dir():
        raise ValueError(f"option --data.path: {folder} is not a folder")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and _image_files(path))
    flat = _image_files(folder)
    if classes and flat:
        raise ValueError(
            f"option --data.path: {folder} has images beside its sub-folders (such as {flat[0].name}), expected one or "
            "the other"
        )
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path not in classes and not path.name.startswith("."):
            _logger.warning("skipped the folder %s: no image lies directly in it", path)
    labelled = [(path, label) for label, place in enumerate(classes or [folder]) for path in _image_files(place)]
    images, labels, unreadable = [], [], []
    for path, label in labelled:
        try:
            images.append(_read(path, image_size, greyscale=greyscale))
            labels.append(label)
        except _UNREADABLE as error:
            unreadable.append(path)
            _logger.warning("cannot read %s: %s", path, error)
    if unreadable and strict:
        raise ValueError(
            f"option --data.strict: {len(unreadable)} of {len(labelled)} images of {folder} are unreadable: "
            + ", ".join(str(path.relative_to(folder)) for path in unreadable)
        )
    if unreadable:
        _logger.warning("skipped %d unreadable of %d images in %s", len(unreadable), len(labelled), folder)
    if not images:
        raise ValueError(f"option --data.path: {folder} has no readable images ({', '.join(sorted(_SUFFIXES))})")
    return with_own_splits(
        "folder",
        np.stack(images),
        np.array(labels) if classes else None,
        tuple(place.name for place in classes),
    )


def _image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())


def _read(path: Path, image_size: int, *, greyscale: bool) -> np.ndarray:
    """One image, uint8 [C, image_size, image_size]."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            upright = _opaque_8_bits(ImageOps.exif_transpose(image)).convert("L" if greyscale else "RGB")
    pixels = np.asarray(ImageOps.fit(upright, (image_size, image_size)), np.uint8)  # [H, W] or [H, W, C]
    return pixels[np.newaxis] if greyscale else pixels.transpose(2, 0, 1)


def _opaque_8_bits(image: Image.Image) -> Image.Image:
    """Does what Pillow's own conversion gets wrong: it cuts 16-bit greys off at 255, and shows what is transparent."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} (32 bits) have no known range; expected 8 or 16 bits a channel")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return image
