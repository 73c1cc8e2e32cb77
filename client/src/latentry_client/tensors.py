"""What callers hold (numpy arrays, PIL images) ↔ what goes over the wire (latentry.v1.Tensor).

The client does not know a model's input shape, so the rules go by the type alone:

| inputs | rows |
| --- | --- |
| an array [N, C, H, W] | N images, as they are |
| an array [N, H, W] | N images of one channel: [N, 1, H, W] |
| an array [N, F] | N vectors, as they are |
| one PIL image (mode L or RGB) | one image: [1, C, H, W] |
| a list of images, all of one size and dtype | one row each; PIL images or arrays [H, W], [H, W, C] or [F] |

So the first axis of an array always counts rows, and a single image as an array is a list of one: `[image]`.
uint8 stays uint8 (0 to 255 stands for [0, 1]); floats become float32; other integers and bool are refused, for nothing
says what their values mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from latentry.v1 import tensor_pb2

from latentry_client import checks
from latentry_client.exceptions import BadResponseError

Array: TypeAlias = npt.NDArray[Any]
OutputDtype: TypeAlias = Literal["float32", "uint8"]

_MAX_CHANNELS = 4
_SENT_CHARS = np.typecodes["Float"] + np.dtype("u1").char
_FLOAT32, _UINT8 = np.dtype("<f4"), np.dtype("u1")
_DTYPES: Mapping[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: _FLOAT32,
    tensor_pb2.DATA_TYPE_UINT8: _UINT8,
    tensor_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
}
_DATA_TYPES = {"float32": tensor_pb2.DATA_TYPE_FLOAT32, "uint8": tensor_pb2.DATA_TYPE_UINT8}


class Picture(Protocol):
    """A PIL image, or what behaves like one."""

    @property
    def mode(self) -> str:
        """The pixel format: L, RGB ..."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What numpy reads the pixels by."""


Inputs: TypeAlias = Array | Picture | Sequence[npt.ArrayLike | Picture]


def batch(inputs: Inputs) -> Array:
    """Lay inputs out as a batch by the rules of this module: [N, C, H, W] or [N, F], uint8 or a float type.

    Raises:
        ValueError: the dtype, the PIL mode or the shape of a list's image follows no rule, or a list is empty or mixed.
    """
    if isinstance(inputs, np.ndarray):  # memory maps too, which stay such
        array: Array = inputs
    elif isinstance(inputs, list | tuple):
        return _stacked([_row(image) for image in inputs])
    elif _mode(inputs) is not None:
        return _row(cast("Picture", inputs))[np.newaxis]
    else:
        array = np.asanyarray(inputs)
    _check_dtype(array)
    if array.ndim == 0:
        raise ValueError("inputs: expected a batch, got a single number")
    return array[:, np.newaxis] if array.ndim == 3 else array


def floats(name: str, values: npt.ArrayLike) -> Array:
    """Take codings or styles, rows first, as an array of a float type.

    Raises:
        ValueError: they are no numbers, or a single one.
    """
    array = np.asanyarray(values)
    if array.dtype.kind not in "fiu" or array.ndim == 0:
        raise ValueError(f"{name}: expected an array of floats, rows first, got {array.dtype} {list(array.shape)}")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def row_bytes(array: Array) -> int:
    """Return the bytes of one row on the wire."""
    return math.prod(array.shape[1:]) * wire_dtype(array).itemsize


def wire_dtype(array: Array) -> np.dtype[Any]:
    """Return the type that the array's elements are sent in: uint8 as uint8, all else as float32."""
    return _UINT8 if array.dtype == np.uint8 else _FLOAT32


def to_tensor(array: Array) -> tensor_pb2.Tensor:
    """Put an array of any shape into a message."""
    dtype = wire_dtype(array)
    if array.dtype != dtype:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which the server refuses by name
            array = array.astype(dtype)
    data_type = tensor_pb2.DATA_TYPE_UINT8 if dtype is _UINT8 else tensor_pb2.DATA_TYPE_FLOAT32
    return tensor_pb2.Tensor(dtype=data_type, shape=array.shape, data=array.tobytes())


def to_array(tensor: tensor_pb2.Tensor) -> Array:
    """Take a message's array out; it owns its memory and can be written to.

    Raises:
        BadResponseError: the message contradicts itself.
    """
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise BadResponseError(f"tensor has unknown dtype {tensor.dtype}")
    try:
        array: Array = np.frombuffer(tensor.data, dtype).reshape(tensor.shape).copy()
    except ValueError as error:
        raise BadResponseError(f"tensor of shape {list(tensor.shape)}, {dtype} has {len(tensor.data)} bytes") from error
    return array


def data_type(output_dtype: OutputDtype) -> tensor_pb2.DataType.ValueType:
    """Return the enumeration's value of an output_dtype.

    Raises:
        ValueError: it is neither float32 nor uint8.
    """
    return checks.choice("output_dtype", output_dtype, _DATA_TYPES)


def _mode(image: object) -> str | None:
    """Return a PIL image's mode, None for others; a memory map's `mode` is how its file was opened."""
    return None if isinstance(image, np.ndarray) else getattr(image, "mode", None)


def _row(image: npt.ArrayLike | Picture) -> Array:
    mode = _mode(image)
    if mode not in (None, "L", "RGB"):
        raise ValueError(f"inputs: expected PIL images of mode L or RGB, got {mode}; use image.convert('L') or ('RGB')")
    array = np.asarray(image)
    _check_dtype(array)
    if array.ndim == 2:
        return array[np.newaxis]
    if array.ndim == 3 and array.shape[-1] <= _MAX_CHANNELS:
        return np.moveaxis(array, -1, 0)
    if array.ndim == 1:
        return array
    raise ValueError(
        f"inputs: expected a list's images as [H, W], [H, W, C] or [F], got shape {list(array.shape)}; "
        "a batch [N, C, H, W] is passed as one array"
    )


def _stacked(rows: list[Array]) -> Array:
    if not rows:
        raise ValueError("inputs: expected at least one image, got an empty list")
    kinds = {(row.shape, row.dtype.name) for row in rows}
    if len(kinds) > 1:
        found = ", ".join(f"{list(shape)} {dtype}" for shape, dtype in sorted(kinds))
        raise ValueError(f"inputs: expected images of one shape and dtype, got {found}")
    return np.stack(rows)


def _check_dtype(array: Array) -> None:
    if array.dtype.char not in _SENT_CHARS:
        raise ValueError(f"inputs: expected uint8 (0 to 255) or floats in [0, 1], got {array.dtype}")
