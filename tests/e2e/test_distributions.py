"""Each distribution installs alone, in a fresh environment, and brings nothing that it must not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# distribution -> (its requirement, what must import, what must be absent)
DISTRIBUTIONS = {
    "proto": ("latentry-proto", ["latentry.v1.inference_service_pb2_grpc"], ["numpy", "torch", "onnxruntime"]),
    "client": ("latentry-client[cli]", ["latentry_client.cli"], ["torch", "onnx", "onnxruntime"]),
    "server": ("latentry-server[cpu]", ["latentry_server.cli", "onnxruntime"], ["torch", "onnx"]),
    "trainer": ("latentry-trainer", ["latentry_trainer.cli", "torch"], ["latentry_client", "latentry_server"]),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for part in DISTRIBUTIONS:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT / part)]
        subprocess.run(build, check=True, capture_output=True)
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", DISTRIBUTIONS)
def test_installs_alone(part: str, wheels: Path, tmp_path: Path) -> None:
    requirement, present, absent = DISTRIBUTIONS[part]
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--find-links", str(wheels), "-c", str(ROOT / "constraints.txt")]
    subprocess.run([python, *install, requirement], check=True)
    for module in present:
        subprocess.run([python, "-W", "error", "-c", f"import {module}"], check=True)
    for module in absent:
        missing = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True, check=False)
        assert f"No module named '{module}'" in missing.stderr
