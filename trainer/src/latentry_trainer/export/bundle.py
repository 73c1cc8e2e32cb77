"""Makes a bundle of a trained variant: exports its graphs, checks them, and publishes them with a manifest."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_trainer.export import manifest as manifests
from latentry_trainer.export.float16 import FLOAT16_TOLERANCE, store_as_float16
from latentry_trainer.export.graphs import ExportError, export_graph
from latentry_trainer.export.parity import check_parity
from latentry_trainer.export.repository import add_version, check_model_name
from latentry_trainer.variants.base import ExportGraph, Variant

Companions = Callable[[manifest_pb2.Manifest, Mapping[str, bytes]], Mapping[str, bytes]]
"""A manifest, its version still open, and the graphs' files -> the files for people that lie beside them, by name."""


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
    float16: bool = False,
    companions: Companions = lambda _manifest, _graphs: {},
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
        float16: Store weights as float16, in the graphs whose outputs stay within `FLOAT16_TOLERANCE`.
        companions: Makes what else is in the version's folder: a card, a picture.

    Raises:
        ValueError: The model's name is not one.
        ExportError: A graph cannot be exported or does not compute what its module does; nothing is published.
        OSError: The repository cannot be written; it holds what it held.
    """
    check_model_name(model_name)
    graphs = variant.graph_modules()
    tensors = {tensor.name for graph in graphs for tensor in graph.inputs + graph.outputs}
    kept_label_names = label_names if tensors & {"labels", "probabilities"} else ()
    contents = {graph: _export(graph, num_labels=len(kept_label_names), float16=float16) for graph in graphs}
    files = {manifests.graph_file(graph): content for graph, content in contents.items()}
    manifest = manifest_pb2.Manifest(
        name=model_name,
        variant=variant_name,
        preset=preset,
        capabilities=sorted(manifest_pb2.Capability.Value(f"CAPABILITY_{name}") for name in variant.capabilities),
        input_shape=variant.input_shape,
        value_range=manifest_pb2.ValueRange(min=0, max=1),
        codings_shape=variant.codings_shape,
        style=manifests.describe_style(variant.style),
        label_names=kept_label_names,
        graphs=[manifests.describe_graph(graph, content) for graph, content in contents.items()],
        metrics=manifests.describe_metrics(metrics),
        provenance=provenance,
        score=manifests.describe_score(metrics),
    )

    def manifest_file(version: int) -> bytes:
        manifest.version = version
        return manifests.to_json(manifest)

    return add_version(repository, model_name, {**files, **companions(manifest, files)}, manifest_file)


def _export(graph: ExportGraph, *, num_labels: int, float16: bool) -> bytes:
    content = export_graph(graph)
    check_parity(graph, content, num_labels=num_labels)
    if not float16:
        return content
    smaller = store_as_float16(content)
    try:
        check_parity(graph, smaller, num_labels=num_labels, tolerance=FLOAT16_TOLERANCE)
    except ExportError:  # this graph needs the precision
        return content
    return smaller
