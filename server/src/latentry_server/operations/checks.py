"""Every check of a request's values. Each raises InvalidInputError with the field's path in the request."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.operations.call import Call
from latentry_server.operations.styles import Truncation
from latentry_server.spec import ModelSpec, TensorSpec

MAX_ABS_PSI = 2.0

_BITS_OF_ONE = int(np.float32(1).view(np.uint32))

# What an answer has beside its rows at most: names, shapes, times, and on a Stream the request's id.
_ENVELOPE_BYTES = 2048


def row_count(call: Call, rows: int, field: str, *, row_bytes: int, shared_bytes: int = 0) -> None:
    """Check a number of rows against the limits.

    `row_bytes` is the size of one row of the answer, `shared_bytes` that of what it carries once beside its rows.
    """
    if rows < 1:
        raise InvalidInputError(field, expected="at least 1 row", got=str(rows))
    limit_rows = call.limits.max_request_rows
    if rows > limit_rows:
        raise InvalidInputError(field, expected=f"at most {limit_rows} rows in one request", got=str(rows))
    fitting_rows = max(0, call.limits.max_message_bytes - _ENVELOPE_BYTES - shared_bytes) // row_bytes
    if rows > fitting_rows:
        expected = f"at most {fitting_rows} rows, whose answer fits a message of {call.limits.max_message_bytes} bytes"
        raise InvalidInputError(field, expected=expected, got=str(rows))


def images(call: Call, array: NDArray[Any], field: str, *, row_bytes: int, shared_bytes: int = 0) -> None:
    """Check inputs [N, *input]: float32 in [0, 1], or uint8."""
    _shape(array, call.spec.input_shape, field)
    row_count(call, len(array), f"{field}.shape[0]", row_bytes=row_bytes, shared_bytes=shared_bytes)
    if array.dtype == np.uint8:
        return
    if array.dtype != np.float32:
        raise InvalidInputError(f"{field}.dtype", expected="FLOAT32 or UINT8", got=_dtype_name(array.dtype))
    # Read as integers, the numbers from 0 to 1 come before all others, NaN among them: one pass. But -0 comes late.
    if int(np.maximum.reduce(array.view(np.uint32), axis=None)) > _BITS_OF_ONE:
        wrong = ~((array >= 0) & (array <= 1))
        if wrong.any():
            _refuse_values(array, wrong, field, expected="finite values in [0, 1]")


def codings(call: Call, array: NDArray[Any], field: str, *, row_bytes: int) -> None:
    """Check codings [N, *codings]: float32, finite."""
    _vectors(call, array, call.spec.codings_shape, field, row_bytes=row_bytes)


def graph_input(call: Call, array: NDArray[Any], tensor: TensorSpec, *, row_bytes: int) -> None:
    """Check what a graph is given for one of its inputs, by what the input is; the field is the input's name."""
    row_shape = tensor.shape[1:]
    if tensor.name == "inputs":
        images(call, array, tensor.name, row_bytes=row_bytes)
    elif tensor.name == "labels":
        _shape(array, row_shape, tensor.name)
        row_count(call, len(array), f"{tensor.name}.shape[0]", row_bytes=row_bytes)
        _dtype(array, tensor.dtype, tensor.name)
        one_label_a_row(call.spec, array.tolist(), len(array), tensor.name, reason="the graph takes them")
    else:
        _vectors(call, array, row_shape, tensor.name, row_bytes=row_bytes)


def styles(call: Call, array: NDArray[Any], field: str, *, row_bytes: int) -> None:
    """Check styles [N, W] or [N, L, W] of a style-based generator: float32, finite."""
    style = call.spec.style
    if style is None:
        raise InvalidInputError(field, expected="no styles: the model is not a style-based generator", got="styles")
    allowed = ((style.style_dim,), (style.num_layers, style.style_dim))
    if array.shape[1:] not in allowed:
        expected = " or ".join(_shape_text(shape) for shape in allowed)
        raise InvalidInputError(f"{field}.shape", expected=expected, got=str(list(array.shape)))
    row_count(call, len(array), f"{field}.shape[0]", row_bytes=row_bytes)
    _finite(array, field)


def labels(spec: ModelSpec, values: Sequence[int], rows: int, field: str) -> None:
    """Check labels that outputs are made of: one a row for conditional models, none for others."""
    if spec.is_conditional:
        one_label_a_row(spec, values, rows, field, reason="the model is conditional")
    else:
        no_labels(values, field, reason="the model is not conditional")


def one_label_a_row(spec: ModelSpec, values: Sequence[int], rows: int, field: str, *, reason: str) -> None:
    """Check labels that a graph takes."""
    if len(values) != rows:
        expected = f"{rows} labels, one a row: {reason}"
        raise InvalidInputError(field, expected=expected, got=f"{len(values)} labels")
    num_labels = len(spec.label_names)
    for index, value in enumerate(values):
        if not 0 <= value < num_labels:
            raise InvalidInputError(f"{field}[{index}]", expected=f"0 to {num_labels - 1}", got=str(value))


def no_labels(values: Sequence[int], field: str, *, reason: str) -> None:
    """Check that no labels came where nothing would use them."""
    if values:
        raise InvalidInputError(field, expected=f"no labels: {reason}", got=f"{len(values)} labels")


def truncation(spec: ModelSpec, value: Truncation | None) -> None:
    """Check a truncation: for style-based generators, psi in [-2, 2], cutoff at most the layer count."""
    if value is None:
        return
    if spec.style is None:
        expected = "no truncation: the model is not a style-based generator"
        raise InvalidInputError("truncation", expected=expected, got=f"psi {value.psi:g}")
    if not abs(value.psi) <= MAX_ABS_PSI:
        expected = f"a finite number from {-MAX_ABS_PSI:g} to {MAX_ABS_PSI:g}"
        raise InvalidInputError("truncation.psi", expected=expected, got=f"{value.psi:g}")
    if value.cutoff is not None and not 0 <= value.cutoff <= spec.style.num_layers:
        expected = f"0 to {spec.style.num_layers} layers"
        raise InvalidInputError("truncation.cutoff", expected=expected, got=str(value.cutoff))


def layers(spec: ModelSpec, values: Sequence[int]) -> None:
    """Check the numbers of style layers: each is there, and named once."""
    assert spec.style is not None, "only style-based generators have STYLE_MIX"
    last = spec.style.num_layers - 1
    named: set[int] = set()
    for index, value in enumerate(values):
        if not 0 <= value <= last:
            raise InvalidInputError(f"layers[{index}]", expected=f"0 to {last}", got=str(value))
        if value in named:
            raise InvalidInputError(f"layers[{index}]", expected="each layer once", got=f"{value} again")
        named.add(value)


def output_dtype(dtype: DTypeLike) -> None:
    """Check the type of the outputs."""
    if np.dtype(dtype) not in (np.float32, np.uint8):
        raise InvalidInputError("output_dtype", expected="FLOAT32 or UINT8", got=_dtype_name(np.dtype(dtype)))


def _shape(array: NDArray[Any], row_shape: tuple[int, ...], field: str) -> None:
    if array.shape[1:] != row_shape or not array.ndim:
        raise InvalidInputError(f"{field}.shape", expected=_shape_text(row_shape), got=str(list(array.shape)))


def _vectors(call: Call, array: NDArray[Any], row_shape: tuple[int, ...], field: str, *, row_bytes: int) -> None:
    _shape(array, row_shape, field)
    row_count(call, len(array), f"{field}.shape[0]", row_bytes=row_bytes)
    _finite(array, field)


def _dtype(array: NDArray[Any], dtype: np.dtype[Any], field: str) -> None:
    if array.dtype != dtype:
        raise InvalidInputError(f"{field}.dtype", expected=_dtype_name(dtype), got=_dtype_name(array.dtype))


def _finite(array: NDArray[Any], field: str) -> None:
    _dtype(array, np.dtype(np.float32), field)
    finite = np.isfinite(array)
    if not finite.all():
        _refuse_values(array, ~finite, field, expected="finite values")


def _refuse_values(array: NDArray[Any], wrong: NDArray[np.bool_], field: str, *, expected: str) -> None:
    """Name the first wrong value and its place."""
    first = int(np.argmax(wrong))
    row = first // math.prod(array.shape[1:])
    raise InvalidInputError(f"{field}.data", expected=expected, got=f"{array.ravel()[first]:g} in row {row}")


def _shape_text(row_shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['N', *map(str, row_shape)])}]"


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtype.name.upper()
