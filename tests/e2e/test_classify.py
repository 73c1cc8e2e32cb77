"""A classifier pretrained without labels, from the command to the server's answer."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_client import Client
from latentry_trainer.data import npz, to_floats
from latentry_trainer.training.trained import load_trained

from tests.e2e.conftest import SLICE
from tests.processes import COMMANDS, serve

pytestmark = pytest.mark.xdist_group("trained")  # in the process that has trained the models already


@torch.no_grad()
def test_a_served_pretrained_classifier_computes_what_the_trainer_does(trained: Path, tmp_path: Path) -> None:
    autoencoder = trained / "runs/stacked-quick-001"
    command: list[str | Path] = [COMMANDS / "latentry-train", "pretrain-classifier", autoencoder]
    command += ["--num-labels", "64", "--runs", tmp_path / "runs", "--repository", tmp_path / "models"]
    subprocess.run(command, check=True, capture_output=True)

    manifest = json.loads((tmp_path / "models/pretrained-classifier/1/manifest.json").read_text())
    run_folder = tmp_path / "runs/pretrain-classifier-001" / f"{manifest['preset']}-001"
    (graph,) = load_trained(run_folder).variant.graph_modules()
    images = to_floats(npz.load(SLICE).images_of("test")[:40])
    expected, _ = graph.module(images)
    with serve(tmp_path / "models") as address, Client(address) as client:
        answer = client.classify("pretrained-classifier", images.numpy())
    np.testing.assert_allclose(answer.probabilities, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answer.labels, expected.argmax(dim=1))
    assert answer.label_names == tuple(str(label) for label in range(10))
