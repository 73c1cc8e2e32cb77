"""Every variant from training to the answer of every RPC that its bundle allows: served numbers are the trainer's."""

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_client import Client, FromCodings
from latentry_server.operations import noise
from latentry_trainer.config import override
from latentry_trainer.data import load_dataset, to_floats
from latentry_trainer.presets import PRESETS
from latentry_trainer.run import evaluate_run, export_run, train_run
from latentry_trainer.run_folder import Destination, start
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import VARIANTS, Autoencoder, Generative, Variant
from latentry_trainer.variants.classifier import Classifier
from latentry_trainer.variants.stylegan import StyleGAN, to_layers
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from tests.processes import serve

TOLERANCE = 1e-5
MODEL = "model"
QUICK = {preset.config.variant: name for name, preset in PRESETS.items() if name.endswith("-quick")}

Floats = NDArray[np.float32]


def generated(variant: Generative, codings: Tensor, *, noise_seed: int = 0, noise_rows: range = range(1)) -> Tensor:
    """What the trainer makes of codings, with the noise maps that the server draws."""
    if not isinstance(variant, StyleGAN):
        return variant.decode(codings)
    mapping, _ = variant.graph_modules()
    styles = to_layers(mapping.module(codings), variant.style.num_layers)
    return synthesized(variant, styles, noise_seed=noise_seed, noise_rows=noise_rows)


def synthesized(variant: StyleGAN, styles: Tensor, *, noise_seed: int, noise_rows: range = range(1)) -> Tensor:
    _, synthesis = variant.graph_modules()
    noises = [
        torch.from_numpy(noise.normals(noise_seed, noise.FIRST_NOISE_MAP + layer, noise_rows, tensor.shape))
        for layer, tensor in enumerate(synthesis.inputs[1:])
    ]
    images: Tensor = synthesis.module(styles, *(maps.expand(len(styles), -1, -1, -1) for maps in noises))
    return images


def encode(client: Client, variant: Variant, images: Floats) -> None:
    assert isinstance(variant, Autoencoder)
    codings = client.encode(MODEL, images).codings
    np.testing.assert_allclose(codings, variant.encode(torch.from_numpy(images)), atol=TOLERANCE)


def decode(client: Client, variant: Variant, images: Floats) -> None:
    assert isinstance(variant, Generative)
    codings = torch.randn(5, *variant.codings_shape, generator=torch.Generator().manual_seed(len(images)))
    outputs = client.decode(MODEL, codings.numpy()).outputs
    np.testing.assert_allclose(outputs, generated(variant, codings), atol=TOLERANCE)


def reconstruct(client: Client, variant: Variant, images: Floats) -> None:
    """The same outputs, and so the same error."""
    assert isinstance(variant, Autoencoder)
    expected = variant.reconstruct(torch.from_numpy(images)).numpy()
    outputs = client.reconstruct(MODEL, images).outputs
    np.testing.assert_allclose(outputs, expected, atol=TOLERANCE)
    errors = [
        np.square(np.asarray(reconstructions, np.float64) - images).mean() for reconstructions in (outputs, expected)
    ]
    assert errors[0] == pytest.approx(errors[1], abs=TOLERANCE)


def denoise(client: Client, variant: Variant, images: Floats) -> None:
    assert isinstance(variant, Autoencoder)
    expected = variant.reconstruct(torch.from_numpy(images))
    np.testing.assert_allclose(client.denoise(MODEL, images).outputs, expected, atol=TOLERANCE)


def sample(client: Client, variant: Variant, images: Floats) -> None:
    assert isinstance(variant, Generative)
    samples = client.sample(MODEL, count=len(images), seed=3, include_codings=True)
    assert samples.codings is not None
    assert len(np.unique(samples.codings.reshape(len(images), -1), axis=0)) > 1, "samples differ from each other"
    expected = generated(variant, torch.from_numpy(samples.codings), noise_seed=3, noise_rows=range(len(images)))
    np.testing.assert_allclose(samples.outputs, expected, atol=TOLERANCE)


def interpolate(client: Client, variant: Variant, images: Floats) -> None:
    assert isinstance(variant, Generative)
    ends = torch.randn(2, *variant.codings_shape, generator=torch.Generator().manual_seed(len(images)))
    outputs = client.interpolate(MODEL, FromCodings(ends[:1]), FromCodings(ends[1:]), steps=3).outputs
    np.testing.assert_allclose(outputs[0, [0, -1]], generated(variant, ends), atol=TOLERANCE)


def style_mix(client: Client, variant: Variant, images: Floats) -> None:
    """The paper's grid: row i with the coarse layers of column j."""
    assert isinstance(variant, StyleGAN)
    mapping, _ = variant.graph_modules()
    codings = torch.randn(5, *variant.codings_shape, generator=torch.Generator().manual_seed(len(images)))
    rows, columns = FromCodings(codings[:3].numpy()), FromCodings(codings[3:].numpy())
    outputs = client.style_mix(MODEL, rows, columns, layers=[0, 1], noise_seed=4).outputs
    styles = to_layers(mapping.module(codings), variant.style.num_layers)
    mixes = styles[:3, None].repeat(1, 2, 1, 1)
    mixes[:, :, :2] = styles[None, 3:, :2]
    expected = synthesized(variant, mixes.flatten(0, 1), noise_seed=4)
    np.testing.assert_allclose(outputs, expected.reshape(outputs.shape), atol=TOLERANCE)


def score(client: Client, variant: Variant, images: Floats) -> None:
    """The error of a reconstruction, or how little the critic takes an image for a real one."""
    inputs = torch.from_numpy(images)
    scores = client.score(MODEL, images)
    if isinstance(variant, Autoencoder):
        expected = (variant.reconstruct(inputs) - inputs).square().flatten(1).mean(dim=1)
        assert scores.threshold is not None
    else:
        (critic,) = (graph for graph in variant.graph_modules() if graph.role == "critic")
        expected = -critic.module(inputs)
    np.testing.assert_allclose(scores.scores, expected, atol=TOLERANCE)


def classify(client: Client, variant: Variant, images: Floats) -> None:
    assert isinstance(variant, Classifier)
    (graph,) = variant.graph_modules()
    expected, *_ = graph.module(torch.from_numpy(images))
    answer = client.classify(MODEL, images)
    np.testing.assert_allclose(answer.probabilities, expected, atol=TOLERANCE)
    assert answer.label_names == tuple(str(digit) for digit in range(10))


CHECKS: Mapping[str, Callable[[Client, Variant, Floats], None]] = {
    "encode": encode,
    "decode": decode,
    "reconstruct": reconstruct,
    "denoise": denoise,
    "sample": sample,
    "interpolate": interpolate,
    "style_mix": style_mix,
    "score": score,
    "classify": classify,
}


def test_every_variant_has_a_quick_preset() -> None:
    without = {"encoder-classifier", "gan-encoder"}  # are made of other runs: see test_classify and test_gan_encoder
    assert set(QUICK) == set(VARIANTS) - without


@torch.no_grad()
@pytest.mark.parametrize("variant_name", QUICK)
def test_a_served_variant_computes_what_the_trainer_does(tmp_path: Path, variant_name: str) -> None:
    options = {"data.name": "digits", "training.num_epochs": "3", "training.batch_size": "64"}
    config = override(PRESETS[QUICK[variant_name]].config, options)
    dataset = load_dataset(config.data)
    destination = Destination(repository=tmp_path / "models", model_name=MODEL)
    run_folder = start(config, destination, tmp_path / "runs")
    with torch.enable_grad():
        assert train_run(run_folder, dataset, Console(file=StringIO()))
    evaluate_run(run_folder, dataset)
    export_run(run_folder, destination)
    variant = load_trained(run_folder).variant
    images = to_floats(dataset.images_of("test")[:9]).numpy()
    with serve(destination.repository) as address, Client(address) as client:
        capabilities = client.get_model(MODEL).capabilities
        assert capabilities
        for capability in capabilities:
            CHECKS[capability](client, variant, images)
