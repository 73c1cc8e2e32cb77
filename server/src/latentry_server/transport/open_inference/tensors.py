"""Pure: what ModelInfer carries, to arrays and back."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from latentry.open_inference import grpc_service_pb2 as messages
from numpy.typing import NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.spec import GraphSpec
from latentry_server.transport.converters import read_array, to_shape

# Each datatype, and the field of InferTensorContents that has its values where they are not raw.
_DTYPES: dict[str, tuple[np.dtype[Any], str]] = {
    "FP32": (np.dtype("<f4"), "fp32_contents"),
    "UINT8": (np.dtype("u1"), "uint_contents"),
    "INT64": (np.dtype("<i8"), "int64_contents"),
}
DATATYPES = {dtype: datatype for datatype, (dtype, _) in _DTYPES.items()}
"""Array type to the protocol's name of it."""

# Parameters that would change what an answer means, and why they are not taken; others are hints, which are ignored.
_REFUSED = {
    "sequence_id": "models keep nothing between requests",
    "shared_memory_region": "tensors come in the message",
    "classification": "outputs come as they are",
}

Parameters = Mapping[str, messages.InferParameter]


def wire_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give a tensor's shape in this protocol: Triton knows no rows without an axis, so that [N] is [N, 1]."""
    return shape if len(shape) > 1 else (*shape, 1)


def read_inputs(request: messages.ModelInferRequest, graph: GraphSpec) -> dict[str, NDArray[Any]]:
    """Read the inputs by name, raw ones without copying them; what the graph takes as [N] may be [N, 1].

    Raises:
        InvalidInputError: shape, type and values do not belong together, in one input or between raw and other ones.
    """
    _refuse(request.parameters, "parameters")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        expected = f"one for each of {len(request.inputs)} inputs"
        raise InvalidInputError("raw_input_contents", expected=expected, got=str(len(raw)))
    arrays: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(request.inputs):
        field = tensor.name or f"inputs[{index}]"
        if tensor.name in arrays:
            raise InvalidInputError("inputs", expected="each input once", got=f"{field} twice")
        _refuse(tensor.parameters, f"{field}.parameters")
        if tensor.datatype not in _DTYPES:
            raise InvalidInputError(f"{field}.datatype", expected=_either(_DTYPES), got=repr(tensor.datatype))
        arrays[tensor.name] = _read_raw(tensor, raw[index], field) if raw else _read_typed(tensor, field)
    for spec in graph.inputs:
        if spec.name in arrays and len(spec.shape) == 1 and arrays[spec.name].shape[1:] == (1,):
            arrays[spec.name] = arrays[spec.name][:, 0]
    return arrays


def read_outputs(request: messages.ModelInferRequest) -> list[str]:
    """Read the names of the outputs asked for; none: all."""
    for output in request.outputs:
        _refuse(output.parameters, f"{output.name}.parameters")
    return [output.name for output in request.outputs]


def read_timeout_s(request: messages.ModelInferRequest) -> float | None:
    """Read how long the caller waits, where the parameter `timeout` says so, in microseconds."""
    timeout_us = request.parameters["timeout"].int64_param if "timeout" in request.parameters else 0
    return timeout_us / 1e6 if timeout_us > 0 else None


def to_response(
    request: messages.ModelInferRequest, version: int, outputs: Mapping[str, NDArray[Any]]
) -> messages.ModelInferResponse:
    """Write the answer to a request; its values are raw."""
    return messages.ModelInferResponse(
        model_name=request.model_name,
        model_version=str(version),
        id=request.id,
        outputs=[
            messages.ModelInferResponse.InferOutputTensor(
                name=name, datatype=DATATYPES[array.dtype], shape=wire_shape(array.shape)
            )
            for name, array in outputs.items()
        ],
        raw_output_contents=[array.tobytes() for array in outputs.values()],
    )


def _read_raw(tensor: messages.ModelInferRequest.InferInputTensor, data: bytes, field: str) -> NDArray[Any]:
    if filled := _filled(tensor):
        raise InvalidInputError(f"{field}.contents", expected="nothing beside raw_input_contents", got=_either(filled))
    dtype, _ = _DTYPES[tensor.datatype]
    return read_array(data, dtype, to_shape(tensor.shape, field), field)


def _read_typed(tensor: messages.ModelInferRequest.InferInputTensor, field: str) -> NDArray[Any]:
    dtype, contents = _DTYPES[tensor.datatype]
    filled = _filled(tensor)
    if filled != [contents]:
        expected = f"{contents}, as the datatype is {tensor.datatype}, or raw_input_contents"
        raise InvalidInputError(f"{field}.contents", expected=expected, got=", ".join(filled) or "nothing")
    values = np.array(getattr(tensor.contents, contents))
    if dtype == np.uint8 and values.max() > np.iinfo(np.uint8).max:
        raise InvalidInputError(
            f"{field}.contents", expected="0 to 255, as the datatype is UINT8", got=str(values.max())
        )
    return read_array(values.astype(dtype).tobytes(), dtype, to_shape(tensor.shape, field), field)


def _filled(tensor: messages.ModelInferRequest.InferInputTensor) -> list[str]:
    return [descriptor.name for descriptor, _ in tensor.contents.ListFields()]


def _refuse(parameters: Parameters, field: str) -> None:
    for name, reason in _REFUSED.items():
        if name in parameters:
            raise InvalidInputError(f"{field}[{name}]", expected=f"no such parameter: {reason}", got="one")


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)
