"""The role table: which tensors a graph of each role takes and gives (docs/architecture.md, "The bundle")."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from latentry_server.errors import BundleInvalidError
from latentry_server.spec import GraphRole, TensorSpec

# Shape of one row, without the batch axis; None is any length.
RowShape = tuple[int | None, ...]
_FLOAT32 = np.dtype(np.float32)
_INT64 = np.dtype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A graph's tensors by name; `optional` ones may be left out of the inputs or outputs that they are in."""

    inputs: Mapping[str, RowShape]
    outputs: Mapping[str, RowShape]
    optional: frozenset[str] = field(default_factory=frozenset)


def signature(
    role: GraphRole,
    *,
    input_shape: tuple[int, ...],
    codings_shape: tuple[int, ...],
    style_shape: tuple[int, int] | None,
    num_labels: int,
    num_noise_maps: int,
) -> Signature:
    """Give the tensors that a graph of the role has in a model of these shapes; `style_shape` is [L, W]."""
    # Optional, since they may be what a classifier gives, or what another graph takes.
    labels: dict[str, RowShape] = {"labels": ()} if num_labels else {}
    optional = frozenset(labels)
    match role:
        case GraphRole.ENCODER:
            styles: dict[str, RowShape] = {} if style_shape is None else {"styles": style_shape[1:]}
            more = {"log_variance": codings_shape} | styles
            outputs = {"codings": codings_shape} | more
            return Signature(inputs={"inputs": input_shape}, outputs=outputs, optional=frozenset(more))
        case GraphRole.DECODER:
            inputs = {"codings": codings_shape} | labels
            return Signature(inputs=inputs, outputs={"outputs": input_shape}, optional=optional)
        case GraphRole.DENOISER:
            return Signature(inputs={"inputs": input_shape}, outputs={"outputs": input_shape})
        case GraphRole.PRIOR:
            return Signature(inputs={"noise": (None,)}, outputs={"codings": codings_shape})
        case GraphRole.CRITIC:
            inputs = {"inputs": input_shape} | labels
            return Signature(inputs=inputs, outputs={"scores": ()}, optional=optional)
        case GraphRole.CLASSIFIER:
            classified: dict[str, RowShape] = {"probabilities": (num_labels,), "features": (None,)}
            return Signature(inputs={"inputs": input_shape}, outputs=classified, optional=frozenset({"features"}))
        case GraphRole.MAPPING | GraphRole.SYNTHESIS if style_shape is None:
            raise BundleInvalidError(f"manifest.json: style: expected with a {role} graph, but it is missing")
        case GraphRole.MAPPING:
            inputs = {"codings": codings_shape} | labels
            return Signature(inputs=inputs, outputs={"styles": style_shape[1:]}, optional=optional)
        case GraphRole.SYNTHESIS:
            noise: dict[str, RowShape] = {f"noise_{layer}": (1, None, None) for layer in range(num_noise_maps)}
            return Signature(inputs={"styles": style_shape} | noise, outputs={"outputs": input_shape})


def count_noise_maps(inputs: Sequence[TensorSpec]) -> int:
    """Count the inputs named `noise_<layer>`."""
    return sum(re.fullmatch(r"noise_\d+", tensor.name) is not None for tensor in inputs)


def check_tensors(
    where: str, tensors: Sequence[TensorSpec], expected: Mapping[str, RowShape], optional: frozenset[str]
) -> None:
    """Refuse tensors that are not the expected ones.

    Raises:
        BundleInvalidError: a name is missing, unknown or there twice, or a type or shape is wrong.
    """
    names = [tensor.name for tensor in tensors]
    good = (
        len(set(names)) == len(names)
        and expected.keys() - optional <= set(names)
        and all(tensor.name in expected and _fits(tensor, expected[tensor.name]) for tensor in tensors)
    )
    if not good:
        wanted = ", ".join(
            f"{name} {_dtype(name)} {_shape(shape)}{' (optional)' if name in optional else ''}"
            for name, shape in expected.items()
        )
        got = ", ".join(f"{tensor.name} {tensor.dtype} {_shape(tensor.shape[1:])}" for tensor in tensors) or "none"
        raise BundleInvalidError(f"{where}: expected {wanted}; got {got}")


def _dtype(name: str) -> np.dtype[np.generic]:
    return _INT64 if name == "labels" else _FLOAT32


def _fits(tensor: TensorSpec, row_shape: RowShape) -> bool:
    axes = tensor.shape[1:]
    return (
        tensor.dtype == _dtype(tensor.name)
        and len(axes) == len(row_shape)
        and all(axis >= 1 and want in (None, axis) for axis, want in zip(axes, row_shape, strict=True))
    )


def _shape(row_shape: RowShape) -> str:
    return f"[{', '.join(['N', *('*' if axis is None else str(axis) for axis in row_shape)])}]"
