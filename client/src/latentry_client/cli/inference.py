"""The commands that take images: encode, reconstruct, denoise, score."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from latentry_client import requests
from latentry_client.cli import inputs, outputs
from latentry_client.cli.arguments import OutputPath, model_version
from latentry_client.cli.connection import DEFAULTS, Connected
from latentry_client.cli.report import run, show, show_run
from latentry_client.requests import Request
from latentry_client.results import Outputs

Strict = Annotated[bool, Parameter(negative="")]


def encode(
    model: str, files: list[Path], /, *, output: OutputPath, strict: Strict = False, connection: Connected = DEFAULTS
) -> None:
    """Write the codings of images; of a VAE, the mean.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy.
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    name, version = model_version(model)
    path = outputs.npy_output(output)
    with connection.open() as client:
        batch = inputs.read(files, client.get_model(name, version=version), strict=strict)
        encoding = run(client, requests.encode(name, batch.array, version=version))
    outputs.write_npy(path, encoding.codings)
    show_run(encoding.run, encoding.codings, path, as_json=connection.json)


def reconstruct(
    model: str, files: list[Path], /, *, output: OutputPath, strict: Strict = False, connection: Connected = DEFAULTS
) -> None:
    """Encode images and decode them again.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy, *.png (a grid) or a folder (one PNG each).
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    _images_to_images(requests.reconstruct, model, files, output, connection, strict=strict)


def denoise(
    model: str, files: list[Path], /, *, output: OutputPath, strict: Strict = False, connection: Connected = DEFAULTS
) -> None:
    """Remove the noise from images.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy, *.png (a grid) or a folder (one PNG each).
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    _images_to_images(requests.denoise, model, files, output, connection, strict=strict)


def score(
    model: str,
    files: list[Path],
    /,
    *,
    output: OutputPath | None = None,
    strict: Strict = False,
    connection: Connected = DEFAULTS,
) -> None:
    """Score images by how badly the model reconstructs them; high scores are anomalies.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy for the scores; they are printed without.
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    name, version = model_version(model)
    path = None if output is None else outputs.npy_output(output)
    with connection.open() as client:
        batch = inputs.read(files, client.get_model(name, version=version), strict=strict)
        result = run(client, requests.score(name, batch.array, version=version))
    if path is not None:
        outputs.write_npy(path, result.scores)
        show_run(result.run, result.scores, path, as_json=connection.json)
        return
    scores = [{"input": name, "score": float(value)} for name, value in zip(batch.names, result.scores, strict=True)]
    data = {"model": result.run.model, "version": result.run.version, "scores": scores}
    show(data, "\n".join(f"{row['score']:.6f}  {row['input']}" for row in scores), as_json=connection.json)


def _images_to_images(
    operation: Callable[..., Request[Outputs]],
    model: str,
    files: list[Path],
    path: Path,
    connection: Connected,
    *,
    strict: bool,
) -> None:
    name, version = model_version(model)
    with connection.open() as client:
        served = client.get_model(name, version=version)
        output = outputs.output(path, served.input_shape)
        batch = inputs.read(files, served, strict=strict)
        result = run(client, operation(name, batch.array, version=version, output_dtype=output.dtype))
    output.write(result.outputs, batch.names)
    show_run(result.run, result.outputs, path, as_json=connection.json)
