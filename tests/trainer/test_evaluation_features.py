import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_trainer.evaluation.features import FeatureNetwork, fashion_mnist_network

from tests.trainer.classifiers import TinyClassifier, named, write_classifier


def test_features_and_probabilities_are_the_networks(tmp_path: Path) -> None:
    classifier = TinyClassifier()
    write_classifier(tmp_path, classifier)
    images = torch.rand(1003, 1, 28, 28, generator=torch.Generator().manual_seed(0))  # more than two batches
    features, probabilities = FeatureNetwork(tmp_path)(images)
    with torch.no_grad():
        expected_probabilities, expected_features = classifier(images)
    assert features.dtype == torch.float64
    torch.testing.assert_close(features, expected_features.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(probabilities, expected_probabilities, rtol=1e-5, atol=1e-5)


def test_it_knows_images_like_those_it_was_trained_on(tmp_path: Path) -> None:
    write_classifier(tmp_path, TinyClassifier())
    network = FeatureNetwork(tmp_path)
    assert network.knows(named("fashion-mnist", torch.zeros(10, 1, 28, 28)))
    assert not network.knows(named("digits", torch.zeros(10, 1, 28, 28)))
    assert not network.knows(named("fashion-mnist", torch.zeros(10, 3, 28, 28)))


def test_a_changed_graph_is_refused(tmp_path: Path) -> None:
    write_classifier(tmp_path, TinyClassifier())
    content = bytearray((tmp_path / "classifier.onnx").read_bytes())
    content[-1] ^= 1
    (tmp_path / "classifier.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"classifier\.onnx is damaged: its SHA-256 is [0-9a-f]{64}, expected"):
        FeatureNetwork(tmp_path)


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    write_classifier(tmp_path, TinyClassifier())
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        FeatureNetwork(tmp_path)


def test_a_bundle_without_such_a_classifier_is_refused(tmp_path: Path) -> None:
    write_classifier(tmp_path, TinyClassifier())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["graphs"][0]["outputs"].pop()  # the features
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="has no classifier that gives probabilities and features"):
        FeatureNetwork(tmp_path)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        FeatureNetwork(tmp_path / "nowhere")


def test_the_classifier_that_comes_with_the_trainer(slice_path: Path) -> None:
    with np.load(slice_path) as arrays:
        images = torch.from_numpy(arrays["images"]).reshape(-1, 1, 28, 28).float() / 255
        labels = torch.from_numpy(arrays["labels"])
    network = fashion_mnist_network()
    assert network.knows(named("fashion-mnist", images))
    _, probabilities = network(images)
    assert (probabilities.argmax(dim=1) == labels).float().mean() > 0.9
