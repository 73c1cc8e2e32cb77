"""Rows → an .npy file, a PNG grid or a folder of PNGs, by the output path's suffix."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from latentry_client.tensors import Array, OutputDtype

_GAP_PIXELS = 2
_WHITE = 255
_FORMATS: dict[str, Literal["npy", "png", "folder"]] = {".npy": "npy", ".png": "png", "": "folder"}


@dataclass(frozen=True, slots=True)
class Output:
    """Where a result goes. A file that is there is replaced, once the new one is complete."""

    path: Path
    format: Literal["npy", "png", "folder"]

    @property
    def dtype(self) -> OutputDtype:
        """What to ask the server for: pictures need no more than bytes."""
        return "float32" if self.format == "npy" else "uint8"

    def write(self, rows: Array, names: Sequence[str] = ()) -> None:
        """Write rows.

        Args:
            rows: [N, ...], or pictures in a grid of their own [R, C, ...].
            names: what files in a folder are called after their number, one a row.
        """
        match self.format:
            case "npy":
                write_npy(self.path, rows)
            case "png":
                _write_png(self.path, _grid(rows))
            case "folder":
                self.path.mkdir(parents=True, exist_ok=True)
                for name, picture in _numbered(rows, names):
                    _write_png(self.path / name, picture)


def output(path: Path, input_shape: Sequence[int]) -> Output:
    """Check an output path before anything is computed.

    Args:
        path: *.npy, *.png, or a folder.
        input_shape: of the model's rows: [C, H, W] for pictures.
    """
    chosen = "folder" if path.is_dir() else _FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise ValueError(f"--output: expected *.npy, *.png or a folder, got {path}")
    if chosen == "folder":
        _check_writable(next(folder for folder in (path, *path.parents) if folder.exists()), path, "--output")
    else:
        _check_file(path, "--output")
    if chosen != "npy" and (len(input_shape) != 3 or input_shape[0] not in (1, 3)):
        raise ValueError(f"--output: expected *.npy, as rows of shape {list(input_shape)} are no pictures, got {path}")
    return Output(path, chosen)


def npy_output(path: Path, flag: str = "--output") -> Path:
    """Check the path of an output that can only be an .npy file; `flag` is where it came, for errors."""
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{flag}: expected *.npy, got {path}")
    _check_file(path, flag)
    return path


def write_npy(path: Path, rows: Array) -> None:
    """Write an .npy file."""
    _replace(path, lambda file: np.save(file, rows, allow_pickle=False))


def with_sources(mixes: Array, rows: Array, columns: Array) -> Array:
    """Put the sources' own pictures beside their mixes, as figure 3 of Karras et al. (2018) does.

    Args:
        mixes: [R, C, *picture], uint8.
        rows: [R, *picture], for the left.
        columns: [C, *picture], for the top.

    Returns:
        [R + 1, C + 1, *picture]; the corner is white.
    """
    corner = np.full_like(mixes[:1, :1], _WHITE)
    top = np.concatenate([corner, columns[np.newaxis]], axis=1)
    return np.concatenate([top, np.concatenate([rows[:, np.newaxis], mixes], axis=1)])


def _check_file(path: Path, flag: str) -> None:
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"{flag}: expected a file in a folder that is there, got {path}")
    _check_writable(path.parent, path, flag)


def _check_writable(folder: Path, path: Path, flag: str) -> None:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{flag}: expected a folder that can be written to, got {path}")


def _write_png(path: Path, pixels: Array) -> None:
    channels_last = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(channels_last))
    _replace(path, lambda file: picture.save(file, "PNG"))


def _replace(path: Path, write: Callable[[BinaryIO], None]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            write(file)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _numbered(rows: Array, names: Sequence[str]) -> list[tuple[str, Array]]:
    if rows.ndim == 5:
        return [(f"{r:05d}-{c:05d}.png", rows[r, c]) for r in range(rows.shape[0]) for c in range(rows.shape[1])]
    stems = [f"-{Path(name).stem}" for name in names] or [""] * len(rows)
    return [(f"{r:05d}{stem}.png", row) for r, (row, stem) in enumerate(zip(rows, stems, strict=True))]


def _grid(rows: Array) -> Array:
    """Lay pictures [N, C, H, W] out in a square, or [R, C, C, H, W] as they are: one picture [C, H, W]."""
    if rows.ndim == 4:
        num_columns = math.ceil(math.sqrt(len(rows)))
        num_rows = math.ceil(len(rows) / num_columns)
        blank = np.full((num_rows * num_columns - len(rows), *rows.shape[1:]), _WHITE, np.uint8)
        rows = np.concatenate([rows, blank]).reshape(num_rows, num_columns, *rows.shape[1:])
    gap = ((0, 0), (0, 0), (0, 0), (0, _GAP_PIXELS), (0, _GAP_PIXELS))
    padded = np.pad(rows, gap, constant_values=_WHITE)
    num_rows, num_columns, channels, height, width = padded.shape
    picture = padded.transpose(2, 0, 3, 1, 4).reshape(channels, num_rows * height, num_columns * width)
    return picture[:, :-_GAP_PIXELS, :-_GAP_PIXELS]
