"""PyTorch modules to ONNX graphs: fixed names, a dynamic batch axis, nothing random inside."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from latentry_trainer.variants.base import ExportGraph

# The opset that the exporter writes without converting, and that every onnxruntime since 1.14 reads.
OPSET = 18

_RANDOM_OPERATORS = {
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


class ExportError(Exception):
    """A graph cannot be published; the message names the graph and says why."""


def export_graph(graph: ExportGraph) -> bytes:
    """Returns the graph as a serialised ONNX model whose batch axis is dynamic.

    Raises:
        ExportError: The module fixes the batch size, is not made of ONNX's own operators, or draws random numbers.
    """
    rows = torch.export.Dim("N")
    # Two rows: the exporter takes sizes 0 and 1 for constants.
    example = tuple(torch.zeros(2, *tensor.shape, dtype=tensor.dtype) for tensor in graph.inputs)
    try:
        with _quiet(), torch.no_grad():  # with gradients, an LSTM is refused at first and captured twice
            program = torch.onnx.export(
                _Positional(copy.deepcopy(graph.module)).cpu().float().eval(),
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in graph.inputs],
                output_names=[tensor.name for tensor in graph.outputs],
                dynamic_shapes=(tuple({0: rows} for _ in graph.inputs),),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"graph {graph.role}: {_root_cause(error)}") from error
    assert program is not None, "the dynamo exporter always returns a program"
    model = program.model_proto
    _clear_metadata(model)
    _check(graph, model)
    return model.SerializeToString(deterministic=True)


class _Positional(nn.Module):
    """Gives every module one signature, so that the batch axis is named one way."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs: Tensor | tuple[Tensor, ...] = self.module(*inputs)
        return outputs


def _check(graph: ExportGraph, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    foreign = {node.domain for node in model.graph.node if node.domain}
    if foreign:
        raise ExportError(f"graph {graph.role}: operators of {sorted(foreign)}; only ONNX's own are served")
    random = {node.op_type for node in model.graph.node} & _RANDOM_OPERATORS
    if random:
        raise ExportError(f"graph {graph.role}: {sorted(random)} inside; noise has to be an input of the graph")
    for tensor, value in zip(graph.inputs + graph.outputs, [*model.graph.input, *model.graph.output], strict=True):
        axes = value.type.tensor_type.shape.dim
        shape = tuple(axis.dim_value for axis in axes[1:])
        if not axes or not axes[0].dim_param or shape != tensor.shape or value.name != tensor.name:
            came = [axis.dim_param or axis.dim_value for axis in axes]
            raise ExportError(
                f"graph {graph.role}: {tensor.name} is exported as {value.name} {came}, expected ['N', "
                f"{', '.join(map(str, tensor.shape))}]"
            )


def _clear_metadata(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes: stack traces with this machine's paths among them."""
    parts = model.graph
    for part in (model, parts, *parts.node, *parts.input, *parts.output, *parts.value_info, *parts.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's remarks on packages that are not installed and on PyTorch's own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "# The axis name: N will not be used", UserWarning)  # it is used, once
            warnings.filterwarnings("ignore", r"The tensor attributes .*\._flat_weights", UserWarning)  # an LSTM's
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)  # PyTorch's LSTM uses it
            warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg|torch|typing_extensions")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch|onnxscript|onnx_ir")
            yield
    finally:
        logger.setLevel(level)
