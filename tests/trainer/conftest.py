from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def slice_path() -> Path:
    """3 000 real images of Fashion-MNIST."""
    return Path(__file__).parents[1] / "data" / "fashion-mnist-slice.npz"
