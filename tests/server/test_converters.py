from typing import Any

import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8, DataType, Tensor
from latentry_server.errors import InvalidInputError
from latentry_server.operations.interpolation import Mode
from latentry_server.operations.sources import SourceKind
from latentry_server.operations.styles import Layout, Truncation
from latentry_server.transport.converters import (
    to_array,
    to_layout,
    to_mode,
    to_source,
    to_truncation,
    write_tensor,
)
from numpy.typing import NDArray


def to_tensor(array: NDArray[Any]) -> Tensor:
    tensor = Tensor()
    write_tensor(tensor, array)
    return tensor


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
@pytest.mark.parametrize("shape", [(1,), (2, 3), (2, 1, 4, 4)])
def test_arrays_go_to_the_wire_and_back(dtype: type, shape: tuple[int, ...]) -> None:
    array: np.ndarray = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    result = to_array(to_tensor(array), "inputs")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, array)


def test_data_is_little_endian_and_row_major() -> None:
    tensor = to_tensor(np.asfortranarray(np.array([[1, 2], [3, 4]], np.float32)))
    assert tensor.data == b"\x00\x00\x80?\x00\x00\x00@\x00\x00@@\x00\x00\x80@"


def test_reading_copies_nothing() -> None:
    tensor = to_tensor(np.zeros((2, 2), np.float32))
    assert not to_array(tensor, "inputs").flags.owndata


def test_a_missing_type_means_float32() -> None:
    assert to_array(Tensor(shape=[1], data=b"\x00\x00\x80?"), "inputs").tolist() == [1.0]


@pytest.mark.parametrize(
    ("tensor", "field", "expected", "got"),
    [
        (Tensor(), "inputs.shape", "1 to 8 axes", "0 axes"),
        (Tensor(shape=[1] * 9, data=b"1234"), "inputs.shape", "1 to 8 axes", "9 axes"),
        (Tensor(shape=[0, 4]), "inputs.shape[0]", "at least 1", "0"),
        (Tensor(shape=[2, -4], data=b"1234"), "inputs.shape[1]", "at least 1", "-4"),
        (Tensor(shape=[-1, -1], data=b"1234"), "inputs.shape[0]", "at least 1", "-1"),
        (Tensor(shape=[2], data=b"1234567"), "inputs.data", "8 bytes of FLOAT32", "7 bytes"),
        (Tensor(shape=[2], data=b"123456789"), "inputs.data", "8 bytes", "9 bytes"),
        (Tensor(shape=[2**62, 8]), "inputs.data", f"{2**67} bytes", "0 bytes"),
        (Tensor(shape=[2**32, 2**32]), "inputs.data", f"{2**66} bytes", "0 bytes"),
        (Tensor(dtype=DataType.ValueType(99), shape=[1], data=b"1"), "inputs.dtype", "FLOAT32 or UINT8", "99"),
    ],
)
def test_what_does_not_belong_together_is_refused(tensor: Tensor, field: str, expected: str, got: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        to_array(tensor, "inputs")
    assert caught.value.field == field
    assert expected in caught.value.expected
    assert got in caught.value.got


def test_truncation_is_read_where_it_is_given() -> None:
    assert to_truncation(messages.SampleRequest()) is None
    given = messages.SampleRequest(truncation=messages.Truncation(psi=0.5))
    assert to_truncation(given) == Truncation(0.5, None)
    given.truncation.cutoff = 0
    assert to_truncation(given) == Truncation(0.5, 0)


def test_sources_are_read_by_their_kind() -> None:
    codings = to_source(messages.Source(codings=to_tensor(np.ones((2, 3), np.float32))), "start")
    assert (codings.kind, codings.path, len(codings)) == (SourceKind.CODINGS, "start.codings", 2)
    seeds = to_source(messages.Source(seeds=messages.Seeds(values=[2**64 - 1, 0])), "rows")
    assert (seeds.kind, seeds.values.tolist()) == (SourceKind.SEEDS, [2**64 - 1, 0])


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="start: expected one of inputs, codings, seeds and styles, got none"):
        to_source(messages.Source(), "start")


def test_numbers_of_no_enum_are_refused() -> None:
    assert (to_mode(0), to_mode(1), to_mode(2)) == (None, Mode.LINEAR, Mode.SPHERICAL)
    assert (to_layout(0), to_layout(1), to_layout(2)) == (Layout.GRID, Layout.GRID, Layout.PAIRS)
    with pytest.raises(InvalidInputError, match="mode: expected LINEAR or SPHERICAL"):
        to_mode(7)
    with pytest.raises(InvalidInputError, match="layout: expected GRID or PAIRS"):
        to_layout(7)


def test_written_types_are_those_of_the_api() -> None:
    assert to_tensor(np.zeros(1, np.uint8)).dtype == DATA_TYPE_UINT8
    assert to_tensor(np.zeros(1, np.float32)).dtype == DATA_TYPE_FLOAT32
