from collections.abc import Iterator

import numpy as np
import pytest
from latentry_client import Client

from tests.client.plain_service import PlainService, serving
from tests.processes import serve
from tests.server import bundles


class Stacked(bundles.Autoencoder):
    """As the trainer publishes it: not trained to denoise, and without a prior to sample from."""

    capabilities = ("ENCODE", "DECODE", "RECONSTRUCT", "INTERPOLATE", "SCORE")


@pytest.fixture
def service() -> Iterator[PlainService]:
    service = PlainService()
    yield service
    service.gate.release(1000)  # whatever still waits there would keep the process alive


@pytest.fixture
def address(service: PlainService) -> Iterator[str]:
    with serving(service) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, max_attempts=1) as client:
        yield client


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Draw 600 images [1, 4, 4]."""
    return np.random.default_rng(0).random((600, 1, 4, 4), np.float32)


@pytest.fixture(scope="session")
def server_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start latentry-server itself on small real bundles, one of each family."""
    repository = tmp_path_factory.mktemp("repository")
    Stacked().write(repository, "stacked")
    bundles.Autoencoder().write(repository, "denoise-gaussian")
    bundles.Vae().write(repository, "pictures")
    bundles.Vae().write(repository, "vae")
    bundles.Vae(seed=1).write(repository, "vae", version=2)
    bundles.Flat().write(repository, "flat")
    bundles.Hashing().write(repository, "hashing")
    bundles.Classifier().write(repository, "classifier")
    bundles.ConditionalGan().write(repository, "cgan")
    bundles.ScoredGan().write(repository, "dcgan")
    bundles.EncodedStyleGan().write(repository, "stylegan")
    bundles.ConditionalStyleGan().write(repository, "cstylegan")
    with serve(repository, "--threads", "1") as address:
        yield address
