"""Messages that would grow are refused before they are parsed, and no other."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from latentry.open_inference.grpc_service_pb2 import ModelInferRequest
from latentry.v1.inference_service_pb2 import InterpolateRequest, Seeds, Source
from latentry_server.errors import InvalidInputError
from latentry_server.transport.parsing import MAX_FIELDS, MAX_NUMBERS, GrowthCheck, has_repeated_parts

from tests.server.hostile import METHODS, requests_of
from tests.server.serving import Served

check_infer = GrowthCheck(ModelInferRequest.DESCRIPTOR)


def part(number: int, content: bytes) -> bytes:
    """Write a length-delimited field."""
    length = len(content)
    varint = bytearray()
    while length >= 0x80:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *varint, length]) + content


STARTS = InterpolateRequest.DESCRIPTOR.fields_by_name["start"].number
SEEDS = Source.DESCRIPTOR.fields_by_name["seeds"].number
VALUES = Seeds.DESCRIPTOR.fields_by_name["values"].number
LONG = part(15, bytes(2 * MAX_FIELDS))  # so that the fields are counted
GROWING = [method for method in METHODS if has_repeated_parts(method.input_type)]


def test_only_the_open_inference_protocol_has_messages_that_can_grow() -> None:
    assert {method.containing_service.full_name for method in GROWING} == {"inference.GRPCInferenceService"}


@pytest.mark.parametrize(
    "content",
    [
        part(5, b"") * (MAX_FIELDS + 1),
        part(4, b"") * (MAX_FIELDS + 1),
        part(5, part(4, b"") * MAX_FIELDS),
        part(5, part(5, part(8, b"") * MAX_FIELDS)),
        (part(5, part(3, b"\1\1")) + part(7, b"1234")) * (MAX_FIELDS // 3 + 1),
        b"\x98\x06\x01" * (MAX_FIELDS + 1),
    ],
    ids=["inputs", "parameters", "parameters of an input", "typed values", "all together", "unknown numbers"],
)
def test_too_many_fields(content: bytes) -> None:
    with pytest.raises(InvalidInputError, match=f"request: expected at most {MAX_FIELDS} fields"):
        check_infer(content)


def test_groups_hide_nothing() -> None:
    with pytest.raises(InvalidInputError, match="got a group"):
        check_infer(b"\x7b\x7c" + part(5, b"") * (MAX_FIELDS + 1))


@pytest.mark.parametrize(
    "content",
    [
        part(5, b"") * MAX_FIELDS,
        part(7, bytes(10**6)) * 3,
        part(5, part(5, part(6, bytes(4 * 10**6)))),
        LONG + part(5, b"")[:-1],
        LONG + b"\xff" * 100,
        LONG + b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    ids=["just enough", "large raw ones", "large typed ones", "cut off", "endless number", "too long"],
)
def test_what_is_let_through(content: bytes) -> None:
    check_infer(content)


TOO_MANY_SEEDS = part(STARTS, part(SEEDS, part(VALUES, b"\1" * (MAX_NUMBERS + 1))))
LONG_SHAPES = part(5, part(3, b"\1" * (MAX_NUMBERS // 2))) + part(5, part(3, b"\1" * (MAX_NUMBERS // 2 + 1)))


@pytest.mark.parametrize(
    ("descriptor", "content"),
    [(InterpolateRequest.DESCRIPTOR, TOO_MANY_SEEDS), (ModelInferRequest.DESCRIPTOR, LONG_SHAPES)],
)
def test_too_many_numbers(descriptor: Descriptor, content: bytes) -> None:
    GetMessageClass(descriptor)().MergeFromString(content)  # it would be read
    with pytest.raises(InvalidInputError, match=f"at most {MAX_NUMBERS} bytes of numbers in lists"):
        GrowthCheck(descriptor)(content)


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(GROWING).flatmap(lambda method: st.tuples(st.just(method), requests_of(method))))
def test_what_is_long_but_has_few_fields_is_let_through(one: tuple[MethodDescriptor, Message]) -> None:
    method, request = one
    GrowthCheck(method.input_type)(LONG + request.SerializeToString())


async def test_the_server_refuses_what_would_grow(served: Served) -> None:
    call: Any = served.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", request_serializer=bytes)
    with pytest.raises(Exception, match="request: expected at most 10000 fields"):
        await call(part(5, b"") * 2**21)
