"""The server and the training run: both are processes of their own, as in production."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentry_client import Client
from latentry_client.results import Model

COMMANDS = Path(sys.executable).parent  # latentry, latentry-server, latentry-train
_START_TIMEOUT_S = 60
_PICK_UP_TIMEOUT_S = 60
_POLL_INTERVAL_S = 1


@contextmanager
def serve(repository: Path, log_file: Path) -> Iterator[str]:
    """Runs the server on a free port and yields its address."""
    command: list[str | Path] = [COMMANDS / "latentry-server", "--repository", repository, "--device", "cpu"]
    command += ["--port", "0", "--metrics-port", "0", "--poll-interval-s", str(_POLL_INTERVAL_S)]
    with log_file.open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            yield _wait_for_address(server, log_file)
        finally:
            server.terminate()


@contextmanager
def train(preset: str, repository: Path, runs: Path, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Trains a preset beside whatever else is done, and publishes it into the repository."""
    command: list[str | Path] = [COMMANDS / "latentry-train", "run", preset, "--repository", repository, "--runs", runs]
    with log_file.open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as trainer:
        try:
            yield trainer
        finally:
            trainer.terminate()


def wait_for_model(client: Client, name: str) -> Model:
    """Waits until the server has found a model that was published while it runs."""
    deadline_s = time.monotonic() + _PICK_UP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        for model in ready_models(client):
            if model.name == name:
                return model
        time.sleep(_POLL_INTERVAL_S / 4)
    raise RuntimeError(f"the server did not pick {name} up")


def ready_models(client: Client) -> list[Model]:
    """The version of each model that answers requests."""
    return [model for model in client.list_models() if model.state == "ready"]


def _wait_for_address(server: subprocess.Popen[bytes], log_file: Path) -> str:
    """Reads the address from the line that the server starts with."""
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        if found := re.search(r"listening on (\S+:\d+)", log_file.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log_file.read_text()}")
