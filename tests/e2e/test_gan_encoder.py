"""A GAN with an encoder fitted to it, from the command to the server's answer."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from latentry_client import Client, FromCodings
from latentry_trainer.data import digits, to_floats
from latentry_trainer.training.trained import load_trained
from latentry_trainer.variants import GANEncoder

from tests.processes import COMMANDS, serve

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models/gan/1`, a small GAN of digits, `models/gan/2`, the same with an encoder, and their runs."""
    folder = tmp_path_factory.mktemp("fitted")
    gan: list[str | Path] = ["run", "gan-quick", "--name", "gan", "--repository", folder / "models"]
    gan += ["--data.name", "digits", "--model.codings_size", "4", "--training.num_epochs", "5"]
    encoder: list[str | Path] = ["fit-encoder", folder / "runs/gan-quick-001", "--training.num_epochs", "10"]
    encoder += ["--training.batch_size", "32", "--model.filters", "16,16"]
    for arguments in (gan, encoder):
        subprocess.run(
            [COMMANDS / "latentry-train", *arguments, "--runs", folder / "runs"], check=True, capture_output=True
        )
    return folder


@torch.no_grad()
def test_a_served_gan_encodes_what_it_has_generated(folder: Path) -> None:
    with serve(folder / "models") as address, Client(address) as client:
        assert "encode" in client.get_model("gan").capabilities
        images = client.sample("gan", count=100, seed=1).outputs
        codings = client.encode("gan", images).codings
        again = client.decode("gan", codings).outputs

        variant = load_trained(folder / "runs/encoder-gan-quick-001").variant
        assert isinstance(variant, GANEncoder)
        np.testing.assert_allclose(codings, variant.encode(torch.from_numpy(images)), atol=TOLERANCE)
        error = np.square(again - images).mean()
        assert error < 0.5 * np.square(images.mean(axis=0) - images).mean(), "the mean image tells nothing apart"


def test_real_images_are_encoded_and_the_way_between_them_is_generated(folder: Path) -> None:
    images = to_floats(digits.load().images_of("test")[:2]).numpy()
    with serve(folder / "models") as address, Client(address) as client:
        codings = client.encode("gan", images).codings
        ends = client.decode("gan", codings).outputs
        way = client.interpolate("gan", images[:1], images[1:], steps=5).outputs
        same_way = client.interpolate("gan", FromCodings(codings[:1]), FromCodings(codings[1:]), steps=5).outputs
    np.testing.assert_allclose(way[0, [0, -1]], ends, atol=TOLERANCE)
    np.testing.assert_allclose(way, same_way, atol=TOLERANCE)
