import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, Tensor
from latentry_client import exceptions, tensors
from PIL import Image

shapes = npst.array_shapes(min_dims=1, max_dims=4, max_side=5)


@given(npst.arrays(st.sampled_from([np.dtype(name) for name in ("f4", "u1")]), shapes))
def test_round_trip(array: np.ndarray) -> None:
    back = tensors.to_array(tensors.to_tensor(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable


@given(npst.arrays(st.sampled_from([np.dtype(name) for name in ("f2", "f8", ">f4")]), shapes))
def test_other_floats_become_float32(array: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        expected = array.astype(np.float32)
    np.testing.assert_array_equal(tensors.to_array(tensors.to_tensor(array)), expected)


def test_any_memory_order_arrives_in_row_order() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (array.T, array[:, ::-1], np.asfortranarray(array)):
        np.testing.assert_array_equal(tensors.to_array(tensors.to_tensor(view)), view)


GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
COLOUR = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        (np.zeros((5, 3, 2, 4), np.float32), (5, 3, 2, 4)),
        (np.zeros((5, 2, 4), np.float32), (5, 1, 2, 4)),
        (np.zeros((5, 3)), (5, 3)),
        (np.zeros((0, 1, 2, 2), np.uint8), (0, 1, 2, 2)),
        ([GREY], (1, 1, 3, 4)),
        ([GREY, GREY], (2, 1, 3, 4)),
        ((COLOUR,), (1, 3, 3, 4)),
        ([COLOUR[..., :1]], (1, 1, 3, 4)),
        ([[0.1, 0.2, 0.3]], (1, 3)),
        (Image.fromarray(GREY), (1, 1, 3, 4)),
        ([Image.fromarray(GREY), GREY], (2, 1, 3, 4)),
        (Image.fromarray(COLOUR), (1, 3, 3, 4)),
    ],
)
def test_rules(inputs: tensors.Inputs, shape: tuple[int, ...]) -> None:
    assert tensors.batch(inputs).shape == shape


def test_channels_come_first() -> None:
    np.testing.assert_array_equal(tensors.batch(Image.fromarray(COLOUR))[0, 2], COLOUR[..., 2])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one image, got an empty list"),
        ([GREY, GREY.T], "one shape and dtype"),
        ([GREY, GREY / 255], "one shape and dtype"),
        ([np.zeros((3, 28, 28))], "a batch .* is passed as one array"),
        (np.zeros((1, 4, 4), int), "uint8 .* or floats in .*, got int64"),
        (np.zeros((1, 4, 4), bool), "got bool"),
        (np.array("text"), "got <U4"),
        (np.float32(1), "a single number"),
        (Image.new("RGBA", (2, 2)), "mode L or RGB, got RGBA"),
        ([Image.new("P", (2, 2))], "mode L or RGB, got P"),
    ],
)
def test_what_follows_no_rule_is_refused(inputs: tensors.Inputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tensors.batch(inputs)


def test_a_contradictory_tensor_is_refused() -> None:
    with pytest.raises(exceptions.BadResponseError, match=r"shape \[2, 2\], float32 has 4 bytes"):
        tensors.to_array(Tensor(dtype=DATA_TYPE_FLOAT32, shape=[2, 2], data=b"1234"))
    with pytest.raises(exceptions.BadResponseError, match="unknown dtype 0"):
        tensors.to_array(Tensor(shape=[1], data=b"1"))
