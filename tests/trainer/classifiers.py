"""A small classifier as a bundle, and data sets for it."""

from pathlib import Path

import torch
from latentry.v1 import manifest_pb2
from latentry_trainer.data import Dataset
from latentry_trainer.export.graphs import export_graph
from latentry_trainer.export.manifest import describe_graph, graph_file, to_json
from latentry_trainer.variants.base import ExportGraph, GraphTensor
from torch import Tensor, nn


class TinyClassifier(nn.Module):
    """Two dense layers to features, a third to classes. Its weights are always the same."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(17)  # no seed of the images: equal streams of numbers correlate
            self.features = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 8))
            self.classes = nn.Linear(8, 10)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, 1, 28, 28] -> probabilities [N, 10], features [N, 8]."""
        features = self.features(inputs)
        return self.classes(features).softmax(dim=1), features


def trained(images: Tensor, labels: Tensor) -> TinyClassifier:
    """A classifier that has seen images float32 [N, 1, 28, 28] and their labels int64 [N] a hundred times."""
    classifier = TinyClassifier()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(100):
        probabilities, _features = classifier(images)
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.nll_loss(probabilities.clamp_min(1e-6).log(), labels))
        optimizer.step()
    return classifier


def write_classifier(folder: Path, classifier: TinyClassifier) -> None:
    """Writes a bundle that says it was trained on Fashion-MNIST."""
    graph = ExportGraph(
        role="classifier",
        module=classifier.eval(),
        inputs=(GraphTensor(name="inputs", shape=(1, 28, 28)),),
        outputs=(GraphTensor(name="probabilities", shape=(10,)), GraphTensor(name="features", shape=(8,))),
    )
    content = export_graph(graph)
    manifest = manifest_pb2.Manifest(
        input_shape=[1, 28, 28],
        graphs=[describe_graph(graph, content)],
        provenance=manifest_pb2.Provenance(dataset="fashion-mnist"),
    )
    (folder / graph_file(graph)).write_bytes(content)
    (folder / "manifest.json").write_bytes(to_json(manifest))


def named(name: str, images: Tensor) -> Dataset:
    """A data set of that name: half its images for training, the others for validation."""
    half = len(images) // 2
    splits = {"train": slice(0, half), "validation": slice(half, None)}
    return Dataset(name=name, images=images, labels=None, label_names=(), splits=splits)  # type: ignore[arg-type]
