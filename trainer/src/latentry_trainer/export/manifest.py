"""What a bundle says of itself: the message `latentry.v1.Manifest` and its JSON form."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from google.protobuf import json_format
from latentry.v1 import manifest_pb2, tensor_pb2

from latentry_trainer.evaluation.anomaly import SCORE_QUANTILE
from latentry_trainer.variants.base import ExportGraph, GraphTensor, Style

_DATA_TYPES = {torch.float32: tensor_pb2.DATA_TYPE_FLOAT32, torch.int64: tensor_pb2.DATA_TYPE_INT64}
_PACKAGES = ("latentry-trainer", "numpy", "onnx", "onnxruntime", "onnxscript", "torch")


def describe_provenance(
    *,
    dataset: str,
    dataset_sha256: str,
    seed: int,
    images_seen: int,
    device: str,
    wall_time_s: float,
    configuration: Mapping[str, Any],
) -> manifest_pb2.Provenance:
    """Returns how a bundle came to be, with this machine's library versions and the time now.

    Args:
        dataset: The data set's name.
        dataset_sha256: Over its images and labels, 64 lower-case hexadecimal digits.
        seed: The run's.
        images_seen: Training images that the weights have seen, repeats counted.
        device: "cpu", or the GPU's name.
        wall_time_s: Training time.
        configuration: The resolved configuration, JSON values only.
    """
    provenance = manifest_pb2.Provenance(
        dataset=dataset,
        dataset_sha256=dataset_sha256,
        seed=seed,
        images_seen=images_seen,
        library_versions={"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in _PACKAGES},
        device=device,
        wall_time_s=wall_time_s,
    )
    provenance.create_time.GetCurrentTime()
    json_format.ParseDict(dict(configuration), provenance.configuration)
    return provenance


def describe_graph(graph: ExportGraph, content: bytes) -> manifest_pb2.Graph:
    """Returns the manifest's entry of one graph whose file is `content`."""
    return manifest_pb2.Graph(
        role=manifest_pb2.GraphRole.Value(f"GRAPH_ROLE_{graph.role.upper()}"),
        file=graph_file(graph),
        sha256=hashlib.sha256(content).hexdigest(),
        inputs=_describe_tensors(graph.inputs),
        outputs=_describe_tensors(graph.outputs),
    )


def graph_file(graph: ExportGraph) -> str:
    """Returns the name of the graph's file in the bundle."""
    return f"{graph.role}.onnx"


def describe_metrics(metrics: Mapping[str, Mapping[str, float]]) -> list[manifest_pb2.Metric]:
    """Returns the manifest's metrics from {split: {name: value}}."""
    return [
        manifest_pb2.Metric(name=name, value=value, split=split)
        for split, values in metrics.items()
        for name, value in values.items()
    ]


def describe_score(metrics: Mapping[str, Mapping[str, float]]) -> manifest_pb2.ScoreCalibration | None:
    """Returns which scores are unusual, from {split: {name: value}}; None where that was not measured."""
    threshold = metrics.get("validation", {}).get("score_threshold")
    if threshold is None:
        return None
    return manifest_pb2.ScoreCalibration(quantile=SCORE_QUANTILE, threshold=threshold)


def describe_style(style: Style | None) -> manifest_pb2.StyleSpec | None:
    """Returns the layers that take styles, and the mean style; None where the generator has no styles."""
    if style is None:
        return None
    mean_style = style.mean_style.tolist()
    return manifest_pb2.StyleSpec(num_layers=style.num_layers, style_dim=len(mean_style), mean_style=mean_style)


def to_json(manifest: manifest_pb2.Manifest) -> bytes:
    """Returns the content of `manifest.json`: the message's JSON form, original field names, zeros written out."""
    text = json_format.MessageToJson(
        manifest, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return f"{text}\n".encode()


def _describe_tensors(tensors: Sequence[GraphTensor]) -> list[manifest_pb2.TensorSpec]:
    return [
        manifest_pb2.TensorSpec(name=tensor.name, dtype=_DATA_TYPES[tensor.dtype], shape=[-1, *tensor.shape])
        for tensor in tensors
    ]
