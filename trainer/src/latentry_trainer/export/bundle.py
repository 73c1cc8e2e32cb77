"""Makes a bundle of a trained variant: exports its graphs, checks them, and publishes them with a manifest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_trainer.export import manifest as manifests
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.export.repository import add_version, check_model_name
from latentry_trainer.variants.base import ExportGraph, Generative, Variant


def publish(
    variant: Variant,
    *,
    repository: Path,
    model_name: str,
    variant_name: str,
    preset: str,
    metrics: Mapping[str, Mapping[str, float]],
    provenance: manifest_pb2.Provenance,
    label_names: Sequence[str] = (),
) -> Path:
    """Publishes the variant as the model's next version and returns that version's folder.

    Args:
        variant: Trained; it is left as it is.
        repository: Folder of bundles, made where it does not exist.
        model_name: 1 to 63 of [a-z0-9._-], the first a letter or digit.
        variant_name: The kind of model: stacked, vae …
        preset: The training configuration's name.
        metrics: What was measured: {split: {name: value}}; the score's threshold is of the validation split.
        provenance: See `manifest.describe_provenance`.
        label_names: The data set's, by label number; kept where a graph takes labels or gives classes.

    Raises:
        ValueError: The model's name is not one.
        ExportError: A graph cannot be exported or does not compute what its module does; nothing is published.
        OSError: The repository cannot be written; it holds what it held.
    """
    check_model_name(model_name)
    graphs = variant.graph_modules()
    tensors = {tensor.name for graph in graphs for tensor in graph.inputs + graph.outputs}
    kept_label_names = label_names if tensors & {"labels", "probabilities"} else ()
    files = {graph: _export(graph, num_labels=len(kept_label_names)) for graph in graphs}
    manifest = manifest_pb2.Manifest(
        name=model_name,
        variant=variant_name,
        preset=preset,
        capabilities=sorted(manifest_pb2.Capability.Value(f"CAPABILITY_{name}") for name in _capabilities(variant)),
        input_shape=variant.input_shape,
        value_range=manifest_pb2.ValueRange(min=0, max=1),
        codings_shape=variant.codings_shape,
        label_names=kept_label_names,
        graphs=[manifests.describe_graph(graph, content) for graph, content in files.items()],
        metrics=manifests.describe_metrics(metrics),
        provenance=provenance,
        score=manifests.describe_score(metrics),
    )

    def manifest_file(version: int) -> bytes:
        manifest.version = version
        return manifests.to_json(manifest)

    return add_version(
        repository,
        model_name,
        {manifests.graph_file(graph): content for graph, content in files.items()},
        manifest_file,
    )


def _capabilities(variant: Variant) -> frozenset[str]:
    """Those of the variant; it cannot sample before its prior is fitted, which is when training is done."""
    cannot_sample = isinstance(variant, Generative) and not variant.can_sample
    return variant.capabilities - {"SAMPLE"} if cannot_sample else variant.capabilities


def _export(graph: ExportGraph, *, num_labels: int) -> bytes:
    content = export_graph(graph)
    check_parity(graph, content, num_labels=num_labels)
    return content
