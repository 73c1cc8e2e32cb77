"""The commands that take images: encode, reconstruct, denoise, score, classify."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from latentry_client import requests
from latentry_client.cli import inputs, outputs
from latentry_client.cli.arguments import OutputPath, model_version
from latentry_client.cli.arguments import labels as read_labels
from latentry_client.cli.connection import DEFAULTS, Connected, Connection
from latentry_client.cli.report import run, show, show_run, table
from latentry_client.client import R
from latentry_client.request import Request
from latentry_client.results import Outputs

Strict = Annotated[bool, Parameter(negative="")]

# What a line says of a score; without a threshold, nothing.
_ANOMALY_WORDS = {None: (), False: ("normal",), True: ("anomaly",)}


def encode(
    model: str,
    files: list[Path],
    /,
    *,
    output: OutputPath,
    styles_output: Path | None = None,
    strict: Strict = False,
    connection: Connected = DEFAULTS,
) -> None:
    """Write the codings of images; of a VAE, the mean.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy.
        styles_output: *.npy for the styles, of style-based generators whose encoder gives them.
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    path = outputs.npy_output(output)
    styles_path = None if styles_output is None else outputs.npy_output(styles_output, "--styles-output")
    _, encoding = _on_images(requests.encode, model, files, connection, strict=strict)
    more = {}
    if styles_path is not None:
        if encoding.styles is None:
            raise ValueError(f"--styles-output: expected a model whose encoder gives styles, got {model!r}")
        outputs.write_npy(styles_path, encoding.styles)
        more = {"styles_output": str(styles_path)}
    outputs.write_npy(path, encoding.codings)
    show_run(encoding.run, encoding.codings, path, as_json=connection.json, **more)


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
    labels: str | None = None,
    strict: Strict = False,
    connection: Connected = DEFAULTS,
) -> None:
    """Score images by how unusual they are; scores above the model's threshold are anomalies.

    The score is how badly the model reconstructs an image, or, of a GAN, minus what its critic says.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy for the scores; they are printed without.
        labels: for models whose critic is conditional: one for all, or one each: 0,5,7-9 or names.
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    path = None if output is None else outputs.npy_output(output)
    batch, result = _on_images(requests.score, model, files, connection, strict=strict, labels=labels)
    if path is not None:
        outputs.write_npy(path, result.scores)
        show_run(result.run, result.scores, path, as_json=connection.json)
        return
    anomalies = [None] * len(result.scores) if result.is_anomaly is None else result.is_anomaly.tolist()
    scores = [
        {"input": name, "score": value, "is_anomaly": is_anomaly}
        for name, value, is_anomaly in zip(batch.names, result.scores.tolist(), anomalies, strict=True)
    ]
    data = {
        "model": result.run.model,
        "version": result.run.version,
        "threshold": result.threshold,
        "scores": scores,
    }
    text = table([(f"{row['score']:.6f}", *_ANOMALY_WORDS[row["is_anomaly"]], row["input"]) for row in scores])
    show(data, text, as_json=connection.json)


def classify(
    model: str,
    files: list[Path],
    /,
    *,
    output: OutputPath | None = None,
    strict: Strict = False,
    connection: Connected = DEFAULTS,
) -> None:
    """Name the most probable label of images.

    Args:
        model: the model, <name> or <name>/<version>.
        files: image files, folders of images, .npy files of a batch.
        output: *.npy for the probabilities of all labels; without, the most probable are printed.
        strict: refuse images that are not in the model's size and colours, instead of converting them.
        connection: where the server is.
    """
    path = None if output is None else outputs.npy_output(output)
    batch, result = _on_images(requests.classify, model, files, connection, strict=strict)
    if path is not None:
        outputs.write_npy(path, result.probabilities)
        show_run(result.run, result.probabilities, path, as_json=connection.json)
        return
    labels = result.labels.tolist()
    classified = [
        {"input": name, "label": label, "label_name": result.label_names[label], "probabilities": row}
        for name, label, row in zip(batch.names, labels, result.probabilities.tolist(), strict=True)
    ]
    data = {
        "model": result.run.model,
        "version": result.run.version,
        "label_names": result.label_names,
        "labels": classified,
    }
    text = table([(f"{row['probabilities'][row['label']]:.6f}", row["label_name"], row["input"]) for row in classified])
    show(data, text, as_json=connection.json)


def _on_images(
    operation: Callable[..., Request[R]],
    model: str,
    files: list[Path],
    connection: Connection,
    *,
    strict: bool,
    labels: str | None = None,
) -> tuple[inputs.Batch, R]:
    name, version = model_version(model)
    with connection.open() as client:
        served = client.get_model(name, version=version)
        batch = inputs.read(files, served, strict=strict)
        given = read_labels("--labels", labels, served, len(batch.names))
        more = {} if given is None else {"labels": given}
        return batch, run(client, operation(name, batch.array, version=version, **more))


def _images_to_images(
    operation: Callable[..., Request[Outputs]],
    model: str,
    files: list[Path],
    path: Path,
    connection: Connection,
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
