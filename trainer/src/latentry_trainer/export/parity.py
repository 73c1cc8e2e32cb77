"""Proves that an exported graph computes what its PyTorch module computes, whatever the batch."""

import copy

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from latentry_trainer.export.graphs import ExportError
from latentry_trainer.variants.base import ExportGraph

BATCH_SIZES = (1, 2, 7)
TOLERANCE = 1e-5
# Deep networks round: those that normalise at each layer by more than the tolerance, on PyTorch as on onnxruntime.
_ROUNDING_FACTOR = 4
_MOST_ROUNDING = 1e-3

Arrays = list[NDArray[np.generic]]


def check_parity(
    graph: ExportGraph, onnx_model: bytes, *, num_labels: int = 0, seed: int = 0, tolerance: float = TOLERANCE
) -> None:
    """Compares the ONNX model on onnxruntime with the module on seeded random inputs at batch sizes 1, 2 and 7.

    The reference is the module in float64 run row by row: a graph whose rows depend on their batch-mates fails too.
    Where PyTorch's own float32 is further off than the tolerance, onnxruntime may be as far off, times 4.

    Args:
        graph: The module with its inputs and outputs.
        onnx_model: The serialised model.
        num_labels: int64 inputs are drawn from 0 to num_labels - 1.
        seed: Of the inputs: `inputs` ~ U(0, 1), other floats ~ N(0, 1).
        tolerance: |onnxruntime - torch| <= tolerance + tolerance |torch|, element by element.

    Raises:
        ExportError: An output is off; names graph, output, batch size, worst error and tolerance.
    """
    session = _session(onnx_model)
    generator = np.random.default_rng(seed)
    for batch_size in BATCH_SIZES:
        inputs = draw_inputs(graph, batch_size, num_labels, generator)
        expected, rounded = (_reference(graph, inputs, dtype) for dtype in (torch.float64, torch.float32))
        outputs = session.run(None, {tensor.name: array for tensor, array in zip(graph.inputs, inputs, strict=True)})
        for tensor, got, want, single in zip(graph.outputs, outputs, expected, rounded, strict=True):
            if got.shape != want.shape:
                raise ExportError(
                    f"graph {graph.role}, output {tensor.name}, batch size {batch_size}: onnxruntime gives shape "
                    f"{got.shape}, PyTorch {want.shape}"
                )
            error = np.abs(got - want)
            rounding = np.minimum(_ROUNDING_FACTOR * np.abs(single - want).max(), _MOST_ROUNDING)
            if not (error <= np.maximum(tolerance + tolerance * np.abs(want), rounding)).all():  # NaN fails too
                raise ExportError(
                    f"graph {graph.role}, output {tensor.name}, batch size {batch_size}: onnxruntime is off by up to "
                    f"{error.max():.3g}, tolerance {tolerance:g} absolute + relative"
                )


def draw_inputs(graph: ExportGraph, batch_size: int, num_labels: int, generator: np.random.Generator) -> Arrays:
    """Draws one batch for every input of the graph, in the range that the graph is served with."""
    arrays: Arrays = []
    for tensor in graph.inputs:
        shape = (batch_size, *tensor.shape)
        if tensor.dtype == torch.int64:
            arrays.append(generator.integers(num_labels, size=shape))
        elif tensor.name == "inputs":
            arrays.append(generator.random(shape, dtype=np.float32))
        else:
            arrays.append(generator.standard_normal(shape, dtype=np.float32))
    return arrays


def _reference(graph: ExportGraph, inputs: Arrays, dtype: torch.dtype) -> list[NDArray[np.floating]]:
    module = copy.deepcopy(graph.module).cpu().to(dtype).eval()
    tensors = [torch.from_numpy(array) for array in inputs]
    tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    with torch.no_grad():
        rows = [module(*(tensor[i : i + 1] for tensor in tensors)) for i in range(len(tensors[0]))]
    rows = [(row,) if isinstance(row, torch.Tensor) else row for row in rows]
    return [torch.cat(column).numpy() for column in zip(*rows, strict=True)]


def _session(onnx_model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"])
