"""Infer: one graph as it is, without an operation around it."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from latentry_server.errors import InvalidInputError
from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.images import to_float
from latentry_server.spec import GraphRole, TensorSpec


async def infer(
    call: Call, role: GraphRole, inputs: Mapping[str, NDArray[Any]], *, outputs: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Run a graph that the model has on its own inputs [N, ...], by name.

    Images (`inputs`) may be uint8; everything else has the graph's own types, floating-point values finite. Gives the
    `outputs` [N, ...] in the order asked for, or all in the graph's order where none are named.
    """
    graph = call.spec.graphs[role]
    _check_names(inputs, graph.inputs)
    wanted = _wanted(outputs, graph.outputs)
    row_bytes = sum(tensor.row_bytes for tensor in wanted)
    for tensor in graph.inputs:
        checks.graph_input(call, inputs[tensor.name], tensor, row_bytes=row_bytes)
    first = graph.inputs[0].name
    for name, array in inputs.items():
        if len(array) != len(inputs[first]):
            expected = f"{len(inputs[first])} rows, as {first}"
            raise InvalidInputError(f"{name}.shape[0]", expected=expected, got=str(len(array)))
    images = {"inputs": to_float(inputs["inputs"])} if "inputs" in inputs else {}
    ran = await call.run(role, {**inputs, **images})
    return {tensor.name: ran[tensor.name] for tensor in wanted}


def _check_names(names: Mapping[str, object], tensors: Sequence[TensorSpec]) -> None:
    if names.keys() != {tensor.name for tensor in tensors}:
        raise InvalidInputError("inputs", expected=_names(tensors), got=", ".join(names) or "none")


def _wanted(names: Sequence[str], tensors: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    if not names:
        return tensors
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(set(names)) < len(names) or not by_name.keys() >= set(names):
        raise InvalidInputError("outputs", expected=f"some of {_names(tensors)}, each once", got=", ".join(names))
    return [by_name[name] for name in names]


def _names(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(tensor.name for tensor in tensors)
