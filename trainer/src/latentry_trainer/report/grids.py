"""Images side by side in one picture."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GAP_PX = 2
_SMALLEST_SIZE_PX = 56  # of one image's longer side in a file: Fashion-MNIST's 28 pixels are drawn twice as large


def as_images(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Images [N, C, H, W] as they are; vectors [N, D] as squares [N, 1, S, S]: values in reading order, then white."""
    if rows.ndim == 4:
        return rows
    num_rows, num_values = rows.shape
    size = math.ceil(math.sqrt(num_values))
    padded = np.pad(rows, ((0, 0), (0, size**2 - num_values)), constant_values=1)
    return padded.reshape(num_rows, 1, size, size)


def tile(images: NDArray[np.floating], num_columns: int) -> NDArray[np.uint8]:
    """Lays images out row by row, white gaps between them.

    Args:
        images: [N, C, H, W] in [0, 1], C 1 or 3; values outside are clipped.
        num_columns: Images in a row.

    Returns:
        [rows (H + 2) - 2, num_columns (W + 2) - 2, C]; places that no image fills are white.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"images: expected shape [N, 1 or 3, H, W] with N at least 1, got {list(images.shape)}")
    num_images, num_channels, height, width = images.shape
    num_rows = -(-num_images // num_columns)
    step_y, step_x = height + _GAP_PX, width + _GAP_PX
    canvas = np.full((num_rows * step_y - _GAP_PX, num_columns * step_x - _GAP_PX, num_channels), 255, np.uint8)
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    for i, image in enumerate(pixels):
        y, x = i // num_columns * step_y, i % num_columns * step_x
        canvas[y : y + height, x : x + width] = image
    return canvas


def write_grid(path: Path, images: NDArray[np.floating], *, num_columns: int) -> None:
    """Writes images as one PNG, small ones enlarged by a whole factor.

    Args:
        path: The file; its folder is made where it does not exist.
        images: [N, C, H, W] in [0, 1], C 1 or 3.
        num_columns: Images in a row.
    """
    canvas = tile(images, num_columns)
    factor = -(-_SMALLEST_SIZE_PX // max(images.shape[2:]))
    picture = Image.fromarray(canvas.squeeze(axis=2) if canvas.shape[2] == 1 else canvas)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(
        path, optimize=True
    )
