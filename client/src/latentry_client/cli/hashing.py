"""The command hash: the binary codes of images, or the images whose codes are near another's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentry_client import hashing, requests
from latentry_client.cli import inputs
from latentry_client.cli.arguments import model_version
from latentry_client.cli.connection import DEFAULTS, Connected
from latentry_client.cli.inference import Strict
from latentry_client.cli.report import run, show, table
from latentry_client.results import Hashes, Model

_VARIANT = "hashing"


def hash_images(
    model: str,
    files: list[Path],
    /,
    *,
    query: Path | None = None,
    max_distance: int | None = None,
    strict: Strict = False,
    connection: Connected = DEFAULTS,
) -> None:
    """Print the binary codes of images; with --query, the images by the number of bits in which their codes differ.

    Args:
        model: a model of the variant hashing, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        query: an image, or an .npy file of one: the nearest images come first.
        max_distance: with --query: leave out images whose codes differ in more bits.
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    if max_distance is not None and query is None:
        raise ValueError("--max-distance: expected with --query, got it alone")
    if max_distance is not None and max_distance < 0:
        raise ValueError(f"--max-distance: expected at least 0, got {max_distance}")
    name, version = model_version(model)
    with connection.open() as client:
        served = client.get_model(name, version=version)
        _check_variant(served)
        batch = inputs.read(files, served, strict=strict)
        query_batch = None if query is None else _read_query(query, served, strict=strict)
        hashes = run(client, requests.hash(name, batch.array, version=version))
        rows = [{"input": name, "code": code} for name, code in zip(batch.names, _texts(hashes), strict=True)]
        data: dict[str, Any] = {"model": hashes.run.model, "version": hashes.run.version}
        if query_batch is not None:
            of_query = client.hash(name, query_batch.array, version=hashes.run.version)
            data["query"] = {"input": query_batch.names[0], "code": _texts(of_query)[0]}
            rows = _nearest(rows, hashing.hamming_distances(hashes.codes, of_query.codes), max_distance)
    data["codes"] = rows
    columns = ("code", "input") if query is None else ("distance", "code", "input")
    show(data, table([[str(row[column]) for column in columns] for row in rows]), as_json=connection.json)


def _check_variant(model: Model) -> None:
    if model.variant != _VARIANT:
        raise ValueError(
            f"MODEL: expected a model of the variant {_VARIANT!r}, got {model.name!r}, a {model.variant!r}"
        )


def _read_query(path: Path, model: Model, *, strict: bool) -> inputs.Batch:
    batch = inputs.read([path], model, strict=strict)
    if len(batch.names) != 1:
        raise ValueError(f"--query: expected one image, got {len(batch.names)}")
    return batch


def _texts(hashes: Hashes) -> list[str]:
    """Write codes as 0s and 1s."""
    return ["".join("01"[bit] for bit in row) for row in hashing.to_bits(hashes.codes, hashes.num_bits).astype(int)]


def _nearest(rows: Sequence[dict[str, Any]], distances: np.ndarray, max_distance: int | None) -> list[dict[str, Any]]:
    """Sort by distance, equal ones as they came, and leave out those that are too far."""
    return [
        rows[row] | {"distance": int(distances[row])}
        for row in np.argsort(distances, kind="stable")
        if max_distance is None or distances[row] <= max_distance
    ]
