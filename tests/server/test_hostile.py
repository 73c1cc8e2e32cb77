"""Messages of every kind that fit the schema: no answer but an OK or a status that says whose fault it was."""

import asyncio
import math
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from latentry.v1 import inference_service_pb2, model_service_pb2, tensor_pb2

from tests.server.bundles import CODINGS, INPUT_SHAPE, NUM_STYLES, PIXELS, STYLE_DIM, Autoencoder, images
from tests.server.serving import Served, array, details, rich_status, serve, tensor

CALLERS_FAULTS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    # Tests of ModelService unload what those of InferenceService call.
    grpc.StatusCode.UNAVAILABLE,
}
METHODS = [
    method
    for service in (
        inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    )
    for method in service.methods
    if method.name != "Stream"
]
MODELS = [
    *("stacked", "vae", "gan", "cgan", "stylegan", "stylegan", "stylegan", "classifier", "classifier", "flat"),
    *("", "../stacked", "é" * 40),
]
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "inputs": [INPUT_SHAPE, INPUT_SHAPE, (PIXELS,)],
    "codings": [(CODINGS,)],
    "styles": [(STYLE_DIM,), (NUM_STYLES, STYLE_DIM)],
}
# Without these, most messages would be refused for what they lack, before anything else is looked at.
ALWAYS = {"model", "inputs", "codings", "start", "end", "steps", "rows", "columns", "count"}


def tensors(name: str) -> st.SearchStrategy[Message]:
    """Tensors that fit a field, with good and bad values, and tensors that fit nothing."""
    fitting = st.builds(
        lambda rows, shape, value: tensor(np.full((rows, *shape), value, np.float32)),
        st.integers(1, 2),
        st.sampled_from(SHAPES[name]),
        st.sampled_from([0.5, 0.0, 1.0, -2.0, math.nan, math.inf]),
    )
    codes = st.builds(
        lambda shape, dtype: tensor(np.zeros((1, *shape), dtype)),
        st.sampled_from(SHAPES[name]),
        st.sampled_from([np.uint8, np.int64]),
    )
    return fitting | fitting | codes | message_of(tensor_pb2.Tensor.DESCRIPTOR)


def message_of(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type: one field of a oneof, other fields given or not."""
    make = GetMessageClass(descriptor)
    if descriptor.full_name == "latentry.v1.Source":
        kinds = [st.fixed_dictionaries({field.name: values_of(field)}) for field in descriptor.fields]
        return st.one_of(kinds).map(lambda given: make(**given))
    fields = {field.name: values_of(field) for field in descriptor.fields}
    always = {name: fields.pop(name) for name in ALWAYS & fields.keys()}
    return st.fixed_dictionaries(always, optional=fields).map(lambda given: make(**given))


def values_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    one = value_of(field)
    return st.lists(one, max_size=2) if field.is_repeated else one


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.name == "model":
        return st.sampled_from(MODELS)
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
        case FieldDescriptor.CPPTYPE_UINT64:
            return st.sampled_from([0, 1, 2**64 - 1])
        case FieldDescriptor.CPPTYPE_FLOAT:
            return st.sampled_from([0.0, 1.0, -2.0, 3e38, math.nan, math.inf])
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case _:
            return st.binary(max_size=70) if field.type == FieldDescriptor.TYPE_BYTES else st.text(max_size=20)


async def ask(served: Served, method: Any, request: Message) -> grpc.StatusCode:
    """Call a method; whatever comes back must be an answer or the caller's fault, said with a reason."""
    stub = getattr(served.models if method.containing_service.name == "ModelService" else served.inference, method.name)
    try:
        await stub(request, timeout=30)
    except grpc.aio.AioRpcError as caught:
        error = caught
    else:
        return grpc.StatusCode.OK
    assert error.code() in CALLERS_FAULTS, (method.name, request, error)
    assert details(rich_status(error))["ErrorInfo"].domain == "latentry"
    return error.code()


def test_no_message_gets_an_internal_error_and_the_server_goes_on(repository: Path) -> None:
    with asyncio.Runner() as runner:
        serving = serve(repository)
        served = runner.run(serving.__aenter__())
        seen: set[grpc.StatusCode] = set()

        @settings(
            max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(
            st.sampled_from(METHODS).flatmap(lambda method: st.tuples(st.just(method), message_of(method.input_type)))
        )
        def hold(call: tuple[Any, Message]) -> None:
            seen.add(runner.run(ask(served, *call)))

        async def encode() -> None:
            await served.models.LoadModel(model_service_pb2.LoadModelRequest(model="stacked"))
            request = inference_service_pb2.EncodeRequest(model="stacked", inputs=tensor(images(2)))
            response = await served.inference.Encode(request)
            np.testing.assert_allclose(array(response.codings), Autoencoder().encode(images(2)), atol=1e-5)

        try:
            hold()
            runner.run(encode())
            assert seen >= {grpc.StatusCode.OK, *CALLERS_FAULTS}  # else the messages were all of one kind
        finally:
            runner.run(serving.__aexit__(None, None, None))
