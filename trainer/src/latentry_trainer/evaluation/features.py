"""What a classifier of our own sees in images: the features that samples are compared by. Nothing is downloaded."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from google.protobuf import json_format
from latentry.v1 import manifest_pb2
from torch import Tensor

from latentry_trainer.data import Dataset

_FASHION_MNIST_CLASSIFIER = Path(__file__).parent / "fashion_mnist_classifier"
_BATCH_ROWS = 500


class FeatureNetwork:
    """A bundle's classifier on onnxruntime, with as many threads as torch has.

    Args:
        bundle: The folder of a bundle whose classifier also gives features.

    Raises:
        ValueError: The bundle is damaged, or has no such classifier.
        OSError: It cannot be read.
    """

    def __init__(self, bundle: Path) -> None:
        self._manifest = _read_manifest(bundle)
        graph = next((graph for graph in self._manifest.graphs if _gives_features(graph)), None)
        if graph is None:
            raise ValueError(f"{bundle} has no classifier that gives probabilities and features")
        content = (bundle / Path(graph.file).name).read_bytes()
        came = hashlib.sha256(content).hexdigest()
        if came != graph.sha256:
            raise ValueError(f"{bundle / graph.file} is damaged: its SHA-256 is {came}, expected {graph.sha256}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def knows(self, dataset: Dataset) -> bool:
        """Whether it was trained on images like the data set's: its features say little of others."""
        manifest = self._manifest
        return manifest.provenance.dataset == dataset.name and tuple(manifest.input_shape) == dataset.input_shape

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images float32 [N, C, H, W] in [0, 1] -> features float64 [N, F] and class probabilities float32 [N, K]."""
        rows = images.cpu().numpy()
        batches = [self._run(rows[start : start + _BATCH_ROWS]) for start in range(0, len(rows), _BATCH_ROWS)]
        features, probabilities = (np.concatenate(column) for column in zip(*batches, strict=True))
        return torch.from_numpy(features).double(), torch.from_numpy(probabilities)

    def _run(self, rows: np.ndarray) -> list[np.ndarray]:
        outputs: list[np.ndarray] = self._session.run(["features", "probabilities"], {"inputs": rows})
        return outputs


@cache
def fashion_mnist_network() -> FeatureNetwork:
    """The classifier that comes with this package."""
    return FeatureNetwork(_FASHION_MNIST_CLASSIFIER)


def _read_manifest(bundle: Path) -> manifest_pb2.Manifest:
    path = bundle / "manifest.json"
    try:
        return json_format.Parse(path.read_text(encoding="utf-8"), manifest_pb2.Manifest())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _gives_features(graph: manifest_pb2.Graph) -> bool:
    outputs = {output.name for output in graph.outputs}
    return graph.role == manifest_pb2.GRAPH_ROLE_CLASSIFIER and {"features", "probabilities"} <= outputs
