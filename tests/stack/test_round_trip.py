"""The compose stack from outside: train in a container, see the model served, call it, find the call in Prometheus.

Run by `make test-stack` while `docker compose up` runs. The trainer's image, not of the default profile, is built here.
"""

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

MODEL = "stacked-quick"
ADDRESS = "127.0.0.1:50051"
PROMETHEUS = "http://127.0.0.1:9090"
LATENTRY = Path(sys.executable).parent / "latentry"
COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
SLICE = Path(__file__).parents[1] / "data" / "fashion-mnist-slice.npz"
NUM_IMAGES = 7

T = TypeVar("T")

pytestmark = pytest.mark.timeout(1200)  # the first test builds the trainer's image and trains


def run(*command: str | Path, timeout_s: float = 60) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def compose(*arguments: str, timeout_s: float = 60) -> str:
    return run(*COMPOSE, *arguments, timeout_s=timeout_s)


def container(service: str) -> str:
    """The service's container, which runs."""
    return compose("ps", "--quiet", service).strip()


def inspect(container_or_image: str) -> dict[str, Any]:
    (state,) = json.loads(run("docker", "inspect", container_or_image))
    return dict(state)


def eventually(look: Callable[[], T], timeout_s: float) -> T:
    """What `look` sees first that is true."""
    end = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < end, f"not seen within {timeout_s} s"
        time.sleep(0.5)
    return seen


def served_versions(model: str) -> list[int]:
    listed = json.loads(run(LATENTRY, "models", "--address", ADDRESS, "--json"))
    return [entry["version"] for entry in listed["models"] if entry["name"] == model and entry["state"] == "ready"]


def prometheus(query: str) -> float:
    """The sum of what the query finds, 0 where it finds nothing."""
    url = f"{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': f'sum({query})'})}"
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - the URL is ours
        found = json.load(response)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module")
def server() -> str:
    """The server's container."""
    return container("server")


@pytest.fixture(scope="module")
def started_at(server: str) -> str:
    """When the server started, looked up before anything is trained."""
    return str(inspect(server)["State"]["StartedAt"])


@pytest.fixture(scope="module")
def version(started_at: str) -> int:  # noqa: ARG001 - the server is to run before the model is trained
    """A version of stacked-quick that is trained in the trainer's container and that the server came to serve."""
    compose("--profile", "train", "build", "trainer", timeout_s=900)
    before = served_versions(MODEL)
    compose("run", "--rm", "trainer", "run", "stacked-quick", "--training.num_epochs", "1", timeout_s=300)
    return eventually(lambda: max(set(served_versions(MODEL)) - set(before), default=0), timeout_s=30)


def test_new_model_is_served_without_restart(version: int, server: str, started_at: str) -> None:
    assert version >= 1
    assert inspect(server)["State"]["StartedAt"] == started_at


def test_call_from_outside_is_seen_in_prometheus(version: int, tmp_path: Path) -> None:
    calls = 'grpc_server_handled_total{job="latentry",grpc_method="Encode",grpc_code="OK"}'
    rows = f'latentry_batch_rows_sum{{job="latentry",model="{MODEL}",version="{version}",graph="encoder"}}'
    codings_path = tmp_path / "codings.npy"
    calls_before = prometheus(calls)
    np.save(tmp_path / "inputs.npy", np.load(SLICE)["images"][:NUM_IMAGES, None])

    run(
        LATENTRY,
        "encode",
        f"{MODEL}/{version}",
        tmp_path / "inputs.npy",
        "--output",
        codings_path,
        "--address",
        ADDRESS,
    )

    codings = np.load(codings_path)
    assert codings.shape == (NUM_IMAGES, 30)
    assert np.isfinite(codings).all()
    eventually(lambda: prometheus(rows) == NUM_IMAGES, timeout_s=30)  # the version is new: nobody else called it
    eventually(lambda: prometheus(calls) > calls_before, timeout_s=30)


@pytest.mark.parametrize("service", ["server", "prometheus"])
def test_containers_have_no_rights(service: str) -> None:
    host = inspect(container(service))["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert compose("exec", "-T", service, "id", "-u").strip() != "0"


@pytest.mark.usefixtures("version")  # builds the trainer's image
@pytest.mark.parametrize("name", ["latentry-server", "latentry-trainer"])
def test_images_name_their_user_by_number(name: str) -> None:
    assert inspect(name)["Config"]["User"] == "10001:10001"


def test_server_image_is_small() -> None:
    """Docker's own python:3.11-slim has about 130 MB: 250 MB on top keep the image under 400 MB."""
    layers = run("docker", "history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", "latentry-server")
    venv_bytes = [int(layer.split()[0]) for layer in layers.splitlines() if "COPY /opt/venv" in layer]
    assert len(venv_bytes) == 1
    assert venv_bytes[0] < 250e6


def test_sigterm_drains(version: int, server: str) -> None:
    run("docker", "kill", "--signal", "TERM", server)
    run("docker", "wait", server)
    assert inspect(server)["State"]["ExitCode"] == 0

    run("docker", "start", server)
    eventually(lambda: inspect(server)["State"]["Health"]["Status"] == "healthy", timeout_s=60)
    assert version in served_versions(MODEL)
