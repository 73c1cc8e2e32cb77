"""Pure: messages to what the operations take, and what they give back to messages."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from latentry.v1 import inference_service_pb2, manifest_pb2, model_service_pb2, tensor_pb2
from numpy.typing import NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.operations.call import Call
from latentry_server.operations.interpolation import Mode
from latentry_server.operations.sources import Source, SourceKind
from latentry_server.operations.styles import Layout, Truncation
from latentry_server.repository.version import ModelStatus

MAX_AXES = 8

Member = TypeVar("Member")

_DTYPES: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_UNSPECIFIED: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
}
_DATA_TYPES = {dtype: data_type for data_type, dtype in _DTYPES.items() if data_type}
_MODES: dict[int, Mode | None] = {
    inference_service_pb2.INTERPOLATION_MODE_UNSPECIFIED: None,
    inference_service_pb2.INTERPOLATION_MODE_LINEAR: Mode.LINEAR,
    inference_service_pb2.INTERPOLATION_MODE_SPHERICAL: Mode.SPHERICAL,
}
_LAYOUTS: dict[int, Layout] = {
    inference_service_pb2.STYLE_MIX_LAYOUT_UNSPECIFIED: Layout.GRID,
    inference_service_pb2.STYLE_MIX_LAYOUT_GRID: Layout.GRID,
    inference_service_pb2.STYLE_MIX_LAYOUT_PAIRS: Layout.PAIRS,
}


def to_array(tensor: tensor_pb2.Tensor, field: str) -> NDArray[Any]:
    """Read a tensor without copying its data; InvalidInputError where shape, type and bytes do not belong together."""
    return read_array(tensor.data, to_dtype(tensor.dtype, f"{field}.dtype"), to_shape(tensor.shape, field), field)


def to_shape(axes: Sequence[int], field: str) -> tuple[int, ...]:
    """Read a tensor's shape, rows first."""
    if not 1 <= len(axes) <= MAX_AXES:
        raise InvalidInputError(f"{field}.shape", expected=f"1 to {MAX_AXES} axes, rows first", got=f"{len(axes)} axes")
    for axis, length in enumerate(axes):
        if length < 1:
            raise InvalidInputError(f"{field}.shape[{axis}]", expected="at least 1", got=str(length))
    return tuple(axes)


def read_array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], field: str) -> NDArray[Any]:
    """Read row-major values without copying them."""
    # Python's integers do not overflow, so a shape that wraps around to the right size is refused too.
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != len(data):
        expected = f"{num_bytes} bytes of {dtype.name.upper()} for shape {list(shape)}"
        raise InvalidInputError(f"{field}.data", expected=expected, got=f"{len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def write_tensor(tensor: tensor_pb2.Tensor, array: NDArray[Any]) -> None:
    """Write an array of one of the wire's types into an empty tensor.

    In its place inside a response: a message that is given to another one is serialised and parsed for that.
    """
    tensor.dtype = tensor_pb2.DataType.ValueType(_DATA_TYPES[array.dtype])
    tensor.shape.extend(array.shape)
    tensor.data = array.tobytes()


def to_dtype(data_type: int, field: str) -> np.dtype[Any]:
    """Look up a DataType; not given means FLOAT32."""
    return _member(_DTYPES, data_type, field, "FLOAT32 or UINT8")


def to_mode(mode: int) -> Mode | None:
    """Look up an InterpolationMode; not given means None, the model's default."""
    return _member(_MODES, mode, "mode", "LINEAR or SPHERICAL")


def to_layout(layout: int) -> Layout:
    """Look up a StyleMixLayout; not given means GRID."""
    return _member(_LAYOUTS, layout, "layout", "GRID or PAIRS")


def to_truncation(request: Any) -> Truncation | None:  # noqa: ANN401 (one of four requests that have the field)
    """Read a request's truncation, where it has one."""
    if not request.HasField("truncation"):
        return None
    truncation = request.truncation
    return Truncation(truncation.psi, truncation.cutoff if truncation.HasField("cutoff") else None)


def to_source(source: inference_service_pb2.Source, field: str) -> Source:
    """Read a source; `field` is its place in the request."""
    kind = source.WhichOneof("source")
    if kind is None:
        raise InvalidInputError(field, expected="one of inputs, codings, seeds and styles", got="none")
    path = f"{field}.{kind}"
    values = np.array(source.seeds.values, np.uint64) if kind == "seeds" else to_array(getattr(source, kind), path)
    return Source(field, SourceKind(kind), values)


def write_run_info(run: inference_service_pb2.RunInfo, call: Call) -> None:
    """Write what ran and how long it took."""
    run.model = call.spec.name
    run.version = call.spec.version
    run.queue_us = round(call.queue_s * 1e6)
    run.compute_us = round(call.compute_s * 1e6)


def to_model(status: ModelStatus) -> model_service_pb2.Model:
    """Write one version of a model."""
    state = model_service_pb2.ModelState.Value(f"MODEL_STATE_{status.state}")
    manifest: manifest_pb2.Manifest | None = status.manifest
    return model_service_pb2.Model(
        name=status.name, version=status.version, state=state, error=status.error, manifest=manifest
    )


def _member(members: dict[int, Member], number: int, field: str, expected: str) -> Member:
    if number not in members:
        raise InvalidInputError(field, expected=expected, got=f"unknown enum number {number}")
    return members[number]
