"""Images between the wire's types and the graphs' float32 in [0, 1]."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latentry_server.errors import InvalidInputError


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """Map uint8 0 to 255 to float32 [0, 1]; float32 stays as it is."""
    if images.dtype == np.float32:
        return images
    scaled = images.astype(np.float32)  # then in place: one step that casts and divides takes several times as long
    scaled /= np.float32(255)
    return scaled


def from_float(outputs: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
    """Map float32 [0, 1] to `dtype`: to uint8 by rounding to the nearest of 0 to 255."""
    if np.dtype(dtype) == np.float32:
        return outputs
    if np.isnan(outputs).any():
        # Codings can be so large that there are no numbers for their outputs.
        expected = "FLOAT32, as the outputs hold values that are not numbers"
        raise InvalidInputError("output_dtype", expected=expected, got="UINT8")
    levels: NDArray[np.uint8] = np.rint(np.clip(outputs, 0, 1) * np.float32(255)).astype(np.uint8)
    return levels
