"""Requests that nobody means: messages of every kind that fit the schema, and bytes that fit nothing."""

import functools
import math
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from latentry.open_inference import grpc_service_pb2 as open_inference
from latentry.v1 import inference_service_pb2, model_service_pb2, tensor_pb2

from tests.server.bundles import CODINGS, INPUT_SHAPE, NOISE, NUM_STYLES, PIXELS, STYLE_DIM
from tests.server.serving import tensor

SERVICES = (
    inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    open_inference.DESCRIPTOR.services_by_name["GRPCInferenceService"],
)
METHODS = [method for service in SERVICES for method in service.methods]
UNARY = [method for method in METHODS if not method.server_streaming]
STREAMS = [method for method in METHODS if method.server_streaming]

MODELS = [
    *("stacked", "vae", "gan", "cgan", "stylegan", "stylegan", "stylegan", "classifier", "classifier", "flat"),
    *("", "../stacked", "é" * 40),
]
GRAPHS = [
    *("stacked.encoder", "stacked.decoder", "stacked.prior", "vae.encoder", "cgan.decoder", "stylegan.synthesis"),
    *("classifier.classifier", "dcgan.critic", "flat.encoder", "cstylegan.mapping", "stacked.critic", "stacked", "."),
]
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "inputs": [INPUT_SHAPE, INPUT_SHAPE, (PIXELS,)],
    "codings": [(CODINGS,)],
    "styles": [(STYLE_DIM,), (NUM_STYLES, STYLE_DIM)],
    "noise": [(NOISE,)],
    "noise_0": [(1, 2, 2)],
    "noise_1": [(1, 4, 4)],
    "labels": [(), (1,)],
}
DATATYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1"), "INT64": np.dtype("<i8")}
# Without these, most messages would be refused for what they lack, before anything else is looked at.
ALWAYS = {"model", "inputs", "codings", "start", "end", "steps", "rows", "columns", "count", "model_name", "name"}
VALUES = [0.5, 0.0, 1.0, -2.0, 3e38, math.nan, math.inf]
NAMES = {"model": MODELS, "model_name": GRAPHS, "name": GRAPHS, "model_version": ["", "", "1", "2", "-1", "one"]}
NAMES["version"] = NAMES["model_version"]


@functools.cache
def tensors(name: str) -> st.SearchStrategy[Message]:
    """Tensors that fit a field, with good and bad values, and tensors that fit nothing."""
    fitting = st.builds(
        lambda rows, shape, value: tensor(np.full((rows, *shape), value, np.float32)),
        st.integers(1, 2),
        st.sampled_from(SHAPES[name]),
        st.sampled_from(VALUES),
    )
    codes = st.builds(
        lambda shape, dtype: tensor(np.zeros((1, *shape), dtype)),
        st.sampled_from(SHAPES[name]),
        st.sampled_from([np.uint8, np.int64]),
    )
    return fitting | fitting | codes | message_of(tensor_pb2.Tensor.DESCRIPTOR)


@st.composite
def infer_requests(draw: st.DrawFn) -> Message:
    """Requests for one graph that mostly fit it, in the Open Inference Protocol."""
    request = open_inference.ModelInferRequest(
        model_name=draw(st.sampled_from(GRAPHS)), model_version=draw(st.sampled_from(["", "", "1", "9", "x"]))
    )
    rows = draw(st.integers(1, 2))
    for name in draw(st.lists(st.sampled_from(sorted(SHAPES)), max_size=3)):
        datatype = draw(st.sampled_from(["FP32"] * 3 + ["UINT8", "INT64"] + ["BYTES"]))
        shape = (rows, *draw(st.sampled_from(SHAPES[name])))
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        dtype = DATATYPES.get(datatype, np.dtype("<i8"))
        with np.errstate(invalid="ignore"):
            values = np.full(shape, draw(st.sampled_from(VALUES)), np.float32).astype(dtype)
        if draw(st.sampled_from([True, True, True, False])):
            request.raw_input_contents.append(values.tobytes())
        else:
            contents: Any = message_of(open_inference.InferTensorContents.DESCRIPTOR)
            request.inputs[-1].contents.CopyFrom(draw(contents))
    for name in draw(st.lists(st.sampled_from(["outputs", "codings", "scores"]), max_size=2)):
        request.outputs.add(name=name)
    for name in draw(st.lists(st.sampled_from(["timeout", "sequence_id", "mine"]), max_size=1)):
        request.parameters[name].int64_param = draw(st.sampled_from([0, 1, -1, 2**63 - 1]))
    return request


@functools.cache
def message_of(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type: one field of a oneof, other fields given or not."""
    make = GetMessageClass(descriptor)
    if descriptor.full_name == "latentry.v1.Source":
        kinds = [st.fixed_dictionaries({field.name: values_of(field)}) for field in descriptor.fields]
        return st.one_of(kinds).map(lambda given: make(**given))
    fields = {field.name: values_of(field) for field in descriptor.fields}
    always = {name: fields.pop(name) for name in ALWAYS & fields.keys()}
    return st.fixed_dictionaries(always, optional=fields).map(lambda given: make(**given))


@functools.cache
def requests_of(method: MethodDescriptor) -> st.SearchStrategy[Message]:
    """Requests of a method."""
    if method.input_type is open_inference.ModelInferRequest.DESCRIPTOR:
        return infer_requests() | infer_requests() | message_of(method.input_type)
    return message_of(method.input_type)


@functools.cache
@st.composite
def mangled(draw: st.DrawFn, method: MethodDescriptor) -> bytes:
    """Bytes of a request, cut off, turned over or with others in between."""
    content = bytearray(draw(requests_of(method)).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def values_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a field, of a repeated one a short list."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return st.dictionaries(st.text(max_size=10), value_of(value), max_size=2)
    one = value_of(field)
    return st.lists(one, max_size=2) if field.is_repeated else one


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """One value of a field: common, at the edge, or out of range."""
    if field.name in NAMES and field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.sampled_from(NAMES[field.name])
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            is_tensor = field.message_type is tensor_pb2.Tensor.DESCRIPTOR
            return tensors(field.name) if is_tensor else message_of(field.message_type)
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([0, 1, 2, 1, 2, 3, 9, -1])
        case FieldDescriptor.CPPTYPE_INT32:
            return st.sampled_from([0, 1, 2, 0, 1, 2, 3, -1, 2**31 - 1, -(2**31)])
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from([0, 1, 2, -1, 2**32, 2**63 - 1, -(2**63)])
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.sampled_from([0, 1, 255, 256, 2**32 - 1])
        case FieldDescriptor.CPPTYPE_UINT64:
            return st.sampled_from([0, 1, 2**64 - 1])
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return st.sampled_from([0.0, 1.0, -2.0, 3e38, math.nan, math.inf])
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case _:
            return st.binary(max_size=70) if field.type == FieldDescriptor.TYPE_BYTES else st.text(max_size=20)
