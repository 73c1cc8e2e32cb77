"""Pure: a manifest's bytes into the message, and the message, checked, into a ModelSpec."""

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from google.protobuf import json_format
from latentry.v1 import manifest_pb2, tensor_pb2

from latentry_server.errors import BundleInvalidError, one_line
from latentry_server.repository.signatures import check_tensors, count_noise_maps, signature
from latentry_server.spec import Capability, GraphRole, GraphSpec, ModelSpec, StyleSpec, TensorSpec

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_ROW_VALUES = 1 << 24
_MAX_STYLE_LAYERS = 64
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_DTYPES: dict[int, np.dtype[np.generic]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype(np.float32),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype(np.uint8),
    tensor_pb2.DATA_TYPE_INT64: np.dtype(np.int64),
}

_DECODES = (frozenset({GraphRole.DECODER}), frozenset({GraphRole.MAPPING, GraphRole.SYNTHESIS}))
_RECONSTRUCTS = (frozenset({GraphRole.DENOISER}),)
# The graphs that a capability needs: one of these sets.
_NEEDED_GRAPHS = {
    Capability.ENCODE: (frozenset({GraphRole.ENCODER}),),
    Capability.DECODE: _DECODES,
    Capability.RECONSTRUCT: _RECONSTRUCTS,
    Capability.DENOISE: _RECONSTRUCTS,
    Capability.SAMPLE: _DECODES,
    Capability.INTERPOLATE: _DECODES,
    Capability.SCORE: (*_RECONSTRUCTS, frozenset({GraphRole.CRITIC})),
    Capability.STYLE_MIX: (frozenset({GraphRole.MAPPING, GraphRole.SYNTHESIS}),),
    Capability.CLASSIFY: (frozenset({GraphRole.CLASSIFIER}),),
}


def parse_manifest(content: bytes) -> manifest_pb2.Manifest:
    """Parse a manifest's JSON; an unknown field is refused.

    Raises:
        BundleInvalidError: it is not JSON, or not a manifest's.
    """
    try:
        return json_format.Parse(content.decode("utf-8"), manifest_pb2.Manifest())
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise BundleInvalidError(f"manifest.json: {one_line(error)}") from error


def model_spec(manifest: manifest_pb2.Manifest, folder: Path) -> ModelSpec:
    """Check the manifest of the bundle in `<model>/<version>/` and say it in plain dataclasses.

    Raises:
        BundleInvalidError: the first thing that is wrong, in one line.
    """
    model, version = folder.parent.name, folder.name
    _expect(
        "name", _NAME.fullmatch(manifest.name), "1 to 63 of a-z 0-9 . _ -, a letter or digit first", repr(manifest.name)
    )
    _expect("name", manifest.name == model, f"the folder's, {model!r}", repr(manifest.name))
    _expect("version", str(manifest.version) == version, f"the folder's, {version}", manifest.version)
    _check_row_shape("input_shape", manifest.input_shape)
    _check_row_shape("codings_shape", manifest.codings_shape)
    value_range = (manifest.value_range.min, manifest.value_range.max)
    _expect("value_range", value_range == (0, 1), "0 to 1", "{} to {}".format(*value_range))
    _check_label_names(manifest)
    style = _style(manifest)
    graphs = {}
    for graph in manifest.graphs:
        spec = _graph(manifest, graph, folder)
        _expect("graphs", spec.role not in graphs, "one graph a role", f"two of {spec.role}")
        graphs[spec.role] = spec
    _expect("graphs", graphs, "at least one", "none")
    _check_generator(graphs.keys(), has_style=style is not None)
    return ModelSpec(
        name=manifest.name,
        version=manifest.version,
        variant=manifest.variant,
        capabilities=_capabilities(manifest, graphs.keys()),
        input_shape=tuple(manifest.input_shape),
        codings_shape=tuple(manifest.codings_shape),
        label_names=tuple(manifest.label_names),
        style=style,
        score_threshold=_score_threshold(manifest, graphs.keys()),
        graphs=graphs,
    )


def graph_role(graph: manifest_pb2.Graph) -> GraphRole | None:
    """Read a graph's role; None where it has none that is known."""
    if graph.role not in manifest_pb2.GraphRole.values() or not graph.role:
        return None
    return GraphRole(manifest_pb2.GraphRole.Name(graph.role).removeprefix("GRAPH_ROLE_").lower())


def _graph(manifest: manifest_pb2.Manifest, graph: manifest_pb2.Graph, folder: Path) -> GraphSpec:
    role = graph_role(graph)
    if role is None:
        raise BundleInvalidError(f"manifest.json: graphs.role: expected a known role, got {graph.role}")
    _expect(f"{role}.file", graph.file == f"{role}.onnx", f"'{role}.onnx'", repr(graph.file))
    _expect(f"{role}.sha256", _SHA256.fullmatch(graph.sha256), "64 lower-case hexadecimal digits", repr(graph.sha256))
    inputs = _tensors(f"{role}.inputs", graph.inputs)
    outputs = _tensors(f"{role}.outputs", graph.outputs)
    expected = signature(
        role,
        input_shape=tuple(manifest.input_shape),
        codings_shape=tuple(manifest.codings_shape),
        style_shape=(manifest.style.num_layers, manifest.style.style_dim) if manifest.HasField("style") else None,
        num_labels=len(manifest.label_names),
        num_noise_maps=count_noise_maps(inputs),
    )
    check_tensors(f"manifest.json: {role}.inputs", inputs, expected.inputs, expected.optional)
    check_tensors(f"manifest.json: {role}.outputs", outputs, expected.outputs, expected.optional)
    return GraphSpec(role=role, path=folder / graph.file, sha256=graph.sha256, inputs=inputs, outputs=outputs)


def _tensors(where: str, tensors: Sequence[manifest_pb2.TensorSpec]) -> tuple[TensorSpec, ...]:
    for tensor in tensors:
        _expect(f"{where}.dtype", tensor.dtype in _DTYPES, "a known type", tensor.dtype)
        _expect(f"{where}.shape", tensor.shape[:1] == [-1], "-1 for the batch axis, first", list(tensor.shape))
        _check_row_shape(f"{where}.shape", tensor.shape[1:])
    return tuple(
        TensorSpec(name=tensor.name, dtype=_DTYPES[tensor.dtype], shape=tuple(tensor.shape)) for tensor in tensors
    )


def _check_generator(roles: Collection[GraphRole], *, has_style: bool) -> None:
    """Check that there is one way from codings to outputs: a style-based generator's, or a decoder."""
    got = ", ".join(sorted(roles))
    if has_style:
        both = {GraphRole.MAPPING, GraphRole.SYNTHESIS} <= set(roles)
        _expect("graphs", both, "mapping and synthesis, as there is a style", got)
        _expect("graphs", GraphRole.DECODER not in roles, "no decoder beside mapping and synthesis", got)


def _capabilities(manifest: manifest_pb2.Manifest, roles: Collection[GraphRole]) -> frozenset[Capability]:
    capabilities = set()
    for number in manifest.capabilities:
        known = number in manifest_pb2.Capability.values() and number
        _expect("capabilities", known, "known capabilities", number)
        capability = Capability(manifest_pb2.Capability.Name(number).removeprefix("CAPABILITY_"))
        needed = _NEEDED_GRAPHS[capability]
        expected = " or ".join(" and ".join(sorted(graphs)) for graphs in needed)
        has = any(graphs <= set(roles) for graphs in needed)
        _expect("graphs", has, f"{expected} for {capability}", ", ".join(sorted(roles)))
        capabilities.add(capability)
    return frozenset(capabilities)


def _check_label_names(manifest: manifest_pb2.Manifest) -> None:
    names = f"{len(manifest.label_names)} names"
    if any(graph.role == manifest_pb2.GRAPH_ROLE_CLASSIFIER for graph in manifest.graphs):
        _expect("label_names", manifest.label_names, "a name for each label that the classifier gives", names)
    elif not any(tensor.name == "labels" for graph in manifest.graphs for tensor in graph.inputs):
        _expect("label_names", not manifest.label_names, "none, as no graph takes or gives labels", names)


def _score_threshold(manifest: manifest_pb2.Manifest, roles: Collection[GraphRole]) -> float | None:
    if not manifest.HasField("score"):
        return None
    quantile, threshold = manifest.score.quantile, manifest.score.threshold
    _expect("score.quantile", 0 < quantile < 1, "a number between 0 and 1", quantile)
    _expect("score.threshold", abs(threshold) <= _MAX_FLOAT32, "a finite number", threshold)
    if GraphRole.DENOISER in roles:
        _expect("score.threshold", threshold >= 0, "at least 0, as a denoiser's scores are", threshold)
    return threshold


def _style(manifest: manifest_pb2.Manifest) -> StyleSpec | None:
    if not manifest.HasField("style"):
        return None
    style = manifest.style
    layers_known = 1 <= style.num_layers <= _MAX_STYLE_LAYERS
    _expect("style.num_layers", layers_known, f"1 to {_MAX_STYLE_LAYERS}", style.num_layers)
    _check_row_shape("style.style_dim", [style.style_dim])
    mean_style = np.array(style.mean_style, dtype=np.float32)
    good = len(mean_style) == style.style_dim and bool(np.isfinite(mean_style).all())
    _expect("style.mean_style", good, f"{style.style_dim} finite values", f"{len(mean_style)} values")
    return StyleSpec(num_layers=style.num_layers, style_dim=style.style_dim, mean_style=mean_style)


def _check_row_shape(field: str, shape: Sequence[int]) -> None:
    good = all(length >= 1 for length in shape) and math.prod(shape) <= _MAX_ROW_VALUES
    _expect(field, good, f"lengths of at least 1, at most {_MAX_ROW_VALUES} values a row", list(shape))


def _expect(field: str, good: object, expected: str, got: object) -> None:
    if not good:
        raise BundleInvalidError(f"manifest.json: {field}: expected {expected}, got {got}")
