"""Image files, folders and .npy files → a batch in the model's shape."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from latentry_client import tensors
from latentry_client.cli.report import say
from latentry_client.results import Model

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

_NPY_START = b"\x93NUMPY"
_MODES = {1: "L", 3: "RGB"}
_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}  # 8 bits a channel; others lose values


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows and what to call them."""

    array: tensors.Array
    names: list[str]


def read(paths: Sequence[Path], model: Model, *, strict: bool) -> Batch:
    """Read all inputs; images are turned upright, and converted and resized to what the model takes, with a note.

    Args:
        paths: image files, folders of image files, and .npy files by the rules of `tensors`.
        model: says the shape.
        strict: refuse images that do not have it.

    Raises:
        ValueError: a file cannot be read or is not what the model takes.
    """
    parts: list[tensors.Array] = []
    names: list[str] = []
    num_changed = 0
    for path in _files(paths):
        if path.suffix == ".npy":
            array = _read_npy(path)
            names += [f"{path.name}[{row}]" for row in range(len(array))]
        else:
            pixels, changed = _read_image(path, model, strict=strict)
            array = pixels[np.newaxis]
            names.append(path.name)
            num_changed += changed
        if parts and array.shape[1:] != parts[0].shape[1:]:
            raise ValueError(
                f"{path}: expected rows of shape {list(parts[0].shape[1:])}, as in the files before, "
                f"got {list(array.shape[1:])}"
            )
        parts.append(array)
    if num_changed:
        shape = "x".join(map(str, model.input_shape))
        say(f"{num_changed} of {len(names)} images were converted or resized to {shape}")
    if any(part.dtype != np.uint8 for part in parts):
        parts = [part / np.float32(255) if part.dtype == np.uint8 else part for part in parts]
    return Batch(parts[0] if len(parts) == 1 else np.concatenate(parts), names)


def load_npy(path: Path) -> tensors.Array:
    """Map an .npy file into memory; nothing in it is run."""
    with path.open("rb") as file:
        if file.read(len(_NPY_START)) != _NPY_START:
            raise ValueError(f"{path}: expected an .npy file, as numpy.save writes them, got another kind of file")
    try:
        array: tensors.Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected an .npy file of numbers: {error}") from error
    if array.ndim == 0:
        raise ValueError(f"{path}: expected an array with rows first, got a single number")
    return array


def _read_npy(path: Path) -> tensors.Array:
    try:
        return tensors.batch(load_npy(path))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not images:
                raise ValueError(f"{path}: expected a folder with images ({', '.join(IMAGE_SUFFIXES)}), got none")
            yield from images
        else:
            yield path


def _read_image(path: Path, model: Model, *, strict: bool) -> tuple[tensors.Array, bool]:
    if len(model.input_shape) != 3 or model.input_shape[0] not in _MODES:
        raise ValueError(
            f"{path}: expected an .npy file, as {model.name!r} takes rows of shape {list(model.input_shape)}"
        )
    channels, height, width = model.input_shape
    try:
        with Image.open(path) as image:
            found = f"{image.mode} {image.width}x{image.height}"
            if image.mode not in _CONVERTIBLE:
                raise ValueError(f"{path}: expected 8 bits a channel, got mode {image.mode}")
            fitting = ImageOps.exif_transpose(image).convert(_MODES[channels])
            if fitting.size != (width, height):
                fitting = fitting.resize((width, height), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        if not path.exists():
            raise
        raise ValueError(f"{path}: expected an image or an .npy file: {error}") from error
    expected = f"{_MODES[channels]} {width}x{height}"
    if strict and found != expected:
        raise ValueError(f"{path}: expected {expected}, got {found} (--strict)")
    return tensors.batch(fitting)[0], found != expected
