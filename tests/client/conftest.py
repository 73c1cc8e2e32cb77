from collections.abc import Iterator

import numpy as np
import pytest
from latentry_client import Client

from tests.client.plain_service import PlainService, serving


@pytest.fixture
def service() -> PlainService:
    return PlainService()


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
