"""Half the file: weights stored as float16, computed with as float32."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT16_TOLERANCE = 1e-2
"""How far outputs with stored float16 weights may be from those with float32 weights, absolute + relative.

Rounding moves a weight by at most 2^-11 = .0005 of itself, and a sum by at most as much of its terms' sizes: twenty
times that leaves room for deep networks. In an image it is two or three of 255 grey levels, where it is bright five.
"""

_LEAST_VALUES = 256  # biases and scales are few bytes, and worth their precision


def store_as_float16(onnx_model: bytes) -> bytes:
    """Stores the weights of an ONNX model as float16, each with a Cast back to float32 before its use.

    The graph computes in float32 as before. onnxruntime runs the Casts once, when it loads the file, and then has the
    weights that a float32 file would give it: running costs nothing.

    Args:
        onnx_model: The serialised model.

    Returns:
        The serialised model. Tensors that keep their type: those of at most 256 values, of another type than float32,
        or with a value that is too large for float16.
    """
    model = onnx.load_from_string(onnx_model)
    casts = []
    for weights in model.graph.initializer:
        halves = _halves(weights)
        if halves is None:
            continue
        name, stored = weights.name, f"{weights.name}_float16"
        weights.CopyFrom(numpy_helper.from_array(halves, stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def has_float16_weights(onnx_model: bytes) -> bool:
    """Whether a serialised model stores weights as float16."""
    weights = onnx.load_from_string(onnx_model).graph.initializer
    return any(tensor.data_type == TensorProto.FLOAT16 for tensor in weights)


def _halves(weights: TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]] | None:
    """The values as float16; None where they stay as they are."""
    if weights.data_type != TensorProto.FLOAT or np.prod(weights.dims) <= _LEAST_VALUES:
        return None
    values = numpy_helper.to_array(weights)
    if np.abs(values).max() > np.finfo(np.float16).max:
        return None
    return values.astype(np.float16)
