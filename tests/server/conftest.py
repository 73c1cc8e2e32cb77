from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.server.bundles import (
    Autoencoder,
    Classifier,
    ConditionalGan,
    ConditionalStyleGan,
    Flat,
    Gan,
    ScoredGan,
    StyleGan,
    Vae,
)
from tests.server.serving import Served, serve

# Of hypothesis's tests, as many examples as an hour has room for: `pytest --hypothesis-profile=many`.
settings.register_profile("many", max_examples=7_000, derandomize=False)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle of every family, named as its variant; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("repository")
    families = (Autoencoder, Flat, Classifier, Vae, Gan, ConditionalGan, ScoredGan, StyleGan, ConditionalStyleGan)
    for family in families:
        family().write(folder)
    return folder


@pytest.fixture
async def served(repository: Path) -> AsyncIterator[Served]:
    async with serve(repository) as running:
        yield running
