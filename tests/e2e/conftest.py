"""Four models trained by the real command on real images, served by real processes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import COMMANDS, serve

SLICE = Path(__file__).parents[1] / "data" / "fashion-mnist-slice.npz"
MODELS = ("stacked", "denoise-gaussian", "vae", "gan")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `models/<model>/1` and `runs/<preset>-001` of each variant, after one pass over the slice."""
    folder = tmp_path_factory.mktemp("trained")
    for model in MODELS:
        command: list[str | Path] = [COMMANDS / "latentry-train", "run", f"{model}-quick"]
        command += ["--data.name", "npz", "--data.path", SLICE, "--training.num_epochs", "1", "--name", model]
        command += ["--runs", folder / "runs", "--repository", folder / "models"]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def addresses(trained: Path) -> Iterator[tuple[str, str]]:
    """Two servers of the same repository, with different batching."""
    models = trained / "models"
    with serve(models) as usual, serve(models, "--max-batch-rows", "7") as small:
        yield usual, small
