"""From training to the answer of a served model: the numbers stay the same all the way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import json_format
from latentry_client import Client, requests
from latentry_server.operations import noise
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import Autoencoder, Generative, Variant
from numpy.typing import NDArray

from tests.e2e.conftest import MODELS, SLICE

pytestmark = pytest.mark.xdist_group("trained")  # one process trains the models for all of these tests

TOLERANCE = 1e-5
AUTOENCODERS = ("stacked", "denoise-gaussian", "vae")
GENERATORS = ("stacked", "vae", "gan")
SEED = 2026

Floats = NDArray[np.float32]


@pytest.fixture
def client(addresses: tuple[str, str]) -> Iterator[Client]:
    with Client(addresses[0]) as client:
        yield client


@pytest.fixture(scope="module")
def images() -> Floats:
    """33 images [33, 1, 28, 28] in [0, 1]."""
    with np.load(SLICE, allow_pickle=False) as arrays:
        return np.asarray(arrays["images"][:33, np.newaxis] / 255, np.float32)


def variant_of(trained: Path, model: str) -> Variant:
    return load_trained(trained / "runs" / f"{model}-quick-001").variant


def run_onnx(trained: Path, model: str, role: str, **inputs: Floats) -> list[Floats]:
    session = onnxruntime.InferenceSession(trained / "models" / model / "1" / f"{role}.onnx")
    return [np.asarray(output) for output in session.run(None, inputs)]


@torch.no_grad()
@pytest.mark.parametrize("model", AUTOENCODERS)
def test_encoding_and_decoding_equal_onnx_and_torch(client: Client, trained: Path, images: Floats, model: str) -> None:
    variant = variant_of(trained, model)
    assert isinstance(variant, Autoencoder)
    encoding = client.encode(model, images)
    np.testing.assert_allclose(encoding.codings, run_onnx(trained, model, "encoder", inputs=images)[0], atol=TOLERANCE)
    np.testing.assert_allclose(encoding.codings, variant.encode(torch.from_numpy(images)), atol=TOLERANCE)
    assert (encoding.log_variance is not None) == (model == "vae")

    outputs = client.decode(model, encoding.codings).outputs
    (onnx_outputs,) = run_onnx(trained, model, "decoder", codings=encoding.codings)
    np.testing.assert_allclose(outputs, onnx_outputs, atol=TOLERANCE)
    np.testing.assert_allclose(outputs, variant.decode(torch.from_numpy(encoding.codings)), atol=TOLERANCE)
    np.testing.assert_allclose(client.reconstruct(model, images).outputs, outputs, atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("model", GENERATORS)
def test_samples_equal_onnx_and_torch(client: Client, trained: Path, model: str) -> None:
    samples = client.sample(model, count=17, seed=SEED, include_codings=True)
    assert samples.codings is not None
    (onnx_outputs,) = run_onnx(trained, model, "decoder", codings=samples.codings)
    np.testing.assert_allclose(samples.outputs, onnx_outputs, atol=TOLERANCE)
    variant = variant_of(trained, model)
    assert isinstance(variant, Generative)
    torch_outputs = variant.decode(torch.from_numpy(samples.codings))
    np.testing.assert_allclose(samples.outputs, torch_outputs, atol=TOLERANCE)


@torch.no_grad()
def test_an_autoencoder_samples_from_its_fitted_prior(client: Client, trained: Path) -> None:
    samples = client.sample("stacked", count=17, seed=SEED, include_codings=True)
    assert samples.codings is not None
    variant = variant_of(trained, "stacked")
    assert isinstance(variant, Autoencoder)
    drawn = noise.normals(SEED, noise.CODINGS, range(17), (variant.prior.noise_size,))
    expected = variant.prior(torch.from_numpy(drawn))
    np.testing.assert_allclose(samples.codings, expected, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(samples.outputs, variant.decode(expected), atol=TOLERANCE)


@pytest.mark.parametrize("model", GENERATORS)
def test_a_seed_gives_the_same_samples_however_they_are_asked_for(addresses: tuple[str, str], model: str) -> None:
    count = 40
    with Client(addresses[0]) as client:
        expected = client.sample(model, count=count, seed=SEED).outputs
    for address in addresses:  # servers that batch differently
        for max_rows in (1, 7, 1000):  # chunks of different sizes
            with Client(address, max_rows=max_rows) as client:
                np.testing.assert_allclose(
                    client.sample(model, count=count, seed=SEED).outputs, expected, atol=TOLERANCE
                )
        with Client(address) as client, ThreadPoolExecutor(8) as threads:  # callers at the same time
            rows = threads.map(
                lambda row: client.run(requests.sample(model, 1, seed=SEED, first_row=row)), range(count)
            )
            together = np.concatenate([samples.outputs for samples in rows])
        np.testing.assert_allclose(together, expected, atol=TOLERANCE)


def test_the_manifest_tells_what_was_trained(client: Client, trained: Path) -> None:
    models = {model.name: model for model in client.list_models()}
    assert set(models) == set(MODELS)
    for name, model in models.items():
        assert model.manifest is not None
        assert model.preset == f"{name}-quick"
        assert model.manifest.provenance.images_seen == len(train_images())
        assert json_format.MessageToDict(model.manifest.provenance.configuration)["data"]["path"] == SLICE.name
        assert model.input_shape == (1, 28, 28)
        assert {graph.file for graph in model.manifest.graphs} == {
            path.name for path in (trained / "models" / name / "1").glob("*.onnx")
        }


def train_images() -> range:
    """The slice's training split: 80 %."""
    return range(2400)
