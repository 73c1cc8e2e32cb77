"""A run's folder: how one is made, where its model goes, and the lock on it.

It holds config.json, destination.json, checkpoint.safetensors, metrics.jsonl, tensorboard/, grids/*.png,
timelapse.webp, tsne.png, activations.png, evaluation.json and report.html.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from latentry_trainer import files
from latentry_trainer.config import RunConfig, to_json
from latentry_trainer.training.trained import CONFIG_FILE, read_config

DESTINATION_FILE = "destination.json"
EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a run's model is published."""

    repository: Path
    """Folder of bundles."""
    model_name: str
    """The model's name in it."""


def start(config: RunConfig, destination: Destination, runs: Path) -> Path:
    """Makes a run's folder, `<runs>/<preset>-<number>`, that can be resumed from any working directory.

    Raises:
        OSError: It cannot be written.
    """
    if config.data.path:
        config = replace(config, data=replace(config.data, path=config.data.path.absolute()))
    values = {"repository": str(destination.repository.absolute()), "model_name": destination.model_name}
    run_folder = make_folder(runs, config.preset)
    files.write(run_folder / DESTINATION_FILE, f"{json.dumps(values, indent=2)}\n".encode())
    files.write(run_folder / CONFIG_FILE, to_json(config).encode())
    return run_folder


def make_folder(runs: Path, name: str) -> Path:
    """Makes `<runs>/<name>-<number>` with the first number that is free.

    Raises:
        OSError: It cannot be written.
    """
    number = 1
    while True:
        folder = runs / f"{name}-{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def is_finished(run_folder: Path) -> bool:
    """Whether a run was trained, measured, published and reported on."""
    return (run_folder / EVALUATION_FILE).is_file() and (run_folder / REPORT_FILE).is_file()


def read_destination(run_folder: Path) -> Destination:
    """Where a run's model was to be published when the run was started.

    Raises:
        ValueError: The folder is not a run's, or the file is damaged.
    """
    read_config(run_folder)
    path = run_folder / DESTINATION_FILE
    try:
        values = json.loads(path.read_text())
        return Destination(repository=Path(values["repository"]), model_name=values["model_name"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say where to publish: {error!r}") from error


@contextmanager
def lock(run_folder: Path) -> Iterator[None]:
    """Keeps other processes from the run; the lock ends with the process, however that ends.

    Raises:
        ValueError: Another process has it.
    """
    descriptor = os.open(run_folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run_folder}: another process is at work on this run") from None
        yield
    finally:
        os.close(descriptor)
