"""The commands that make images: decode, sample, interpolate, style-mix."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from latentry_client import requests
from latentry_client.cli import inputs, outputs
from latentry_client.cli.arguments import MAX_NUMBERS, NOT_TRUNCATED, OutputPath, Truncated, model_version, numbers
from latentry_client.cli.arguments import labels as read_labels
from latentry_client.cli.connection import DEFAULTS, Connected
from latentry_client.cli.report import run, show_run
from latentry_client.cli.sources import num_rows, source
from latentry_client.client import Client
from latentry_client.sources import Source
from latentry_client.tensors import Array


def decode(
    model: str,
    codings: Path,
    /,
    *,
    output: OutputPath,
    labels: str | None = None,
    truncation: Truncated = NOT_TRUNCATED,
    connection: Connected = DEFAULTS,
) -> None:
    """Make images of codings.

    Args:
        model: the model, <name> or <name>/<version>.
        codings: an .npy file, [N, *codings].
        output: *.npy, *.png (a grid) or a folder (one PNG each).
        labels: for conditional models: one for all, or one each: 0,5,7-9 or names.
        truncation: how far styles go from their mean.
        connection: where the server is.
    """
    name, version = model_version(model)
    rows = inputs.load_npy(codings)
    with connection.open() as client:
        served = client.get_model(name, version=version)
        target = outputs.output(output, served.input_shape)
        request = requests.decode(
            name,
            rows,
            labels=read_labels("--labels", labels, served, len(rows)),
            version=version,
            output_dtype=target.dtype,
            **asdict(truncation),
        )
        result = run(client, request)
    target.write(result.outputs)
    show_run(result.run, result.outputs, output, as_json=connection.json)


def sample(
    model: str,
    /,
    *,
    output: OutputPath,
    count: int = 16,
    seed: int | None = None,
    labels: str | None = None,
    truncation: Truncated = NOT_TRUNCATED,
    connection: Connected = DEFAULTS,
) -> None:
    """Draw new images.

    Args:
        model: the model, <name> or <name>/<version>.
        output: *.npy, *.png (a grid) or a folder (one PNG each).
        count: how many.
        seed: the same seed gives the same images; without it, one is drawn and printed.
        labels: for conditional models: one for all, or one each: 0,5,7-9 or names.
        truncation: how far styles go from their mean.
        connection: where the server is.
    """
    name, version = model_version(model)
    if not 1 <= count <= MAX_NUMBERS:
        raise ValueError(f"--count: expected 1 to {MAX_NUMBERS}, got {count}")
    with connection.open() as client:
        served = client.get_model(name, version=version)
        target = outputs.output(output, served.input_shape)
        request = requests.sample(
            name,
            count,
            seed=seed,
            labels=read_labels("--labels", labels, served, count),
            version=version,
            output_dtype=target.dtype,
            **asdict(truncation),
        )
        result = run(client, request)
    target.write(result.outputs)
    show_run(result.run, result.outputs, output, as_json=connection.json, seed=result.seed)


def interpolate(
    model: str,
    /,
    *,
    start: str,
    end: str,
    output: OutputPath,
    steps: int = 8,
    mode: Literal["linear", "spherical"] | None = None,
    labels: str | None = None,
    truncation: Truncated = NOT_TRUNCATED,
    connection: Connected = DEFAULTS,
) -> None:
    """Draw the way between images, codings or seeds; a row of the grid is a way.

    Args:
        model: the model, <name> or <name>/<version>.
        start: an image, a folder, an .npy file of images; or seeds:1,5-9, codings:FILE.npy, styles:FILE.npy.
        end: likewise, as many.
        output: *.npy, *.png (a grid) or a folder (one PNG each).
        steps: points on each way, both ends included.
        mode: how they lie; without it, linear for models that reconstruct, and for style-based generators from or to
            images or styles; spherical for others.
        labels: for conditional models: one for all, or one each: 0,5,7-9 or names.
        truncation: how far styles go from their mean.
        connection: where the server is.
    """
    name, version = model_version(model)
    with connection.open() as client:
        served = client.get_model(name, version=version)
        target = outputs.output(output, served.input_shape)
        starts = source("--start", start, served)
        request = requests.interpolate(
            name,
            starts,
            source("--end", end, served),
            steps=steps,
            mode=mode,
            labels=read_labels("--labels", labels, served, num_rows("--start", starts)),
            version=version,
            output_dtype=target.dtype,
            **asdict(truncation),
        )
        result = run(client, request)
    target.write(result.outputs)
    show_run(result.run, result.outputs, output, as_json=connection.json)


def style_mix(
    model: str,
    /,
    *,
    rows: str,
    columns: str,
    layers: str,
    output: OutputPath,
    layout: Literal["grid", "pairs"] = "grid",
    noise_seed: int | None = None,
    row_labels: str | None = None,
    column_labels: str | None = None,
    truncation: Truncated = NOT_TRUNCATED,
    connection: Connected = DEFAULTS,
) -> None:
    """Combine the styles of two sources, layer by layer; a grid in a PNG has the sources on its left and its top.

    Args:
        model: the model, <name> or <name>/<version>.
        rows: give all layers but --layers: seeds:1,5-9, codings:FILE.npy, styles:FILE.npy; or an image, a folder, an
            .npy file of images, where the model encodes.
        columns: give --layers: likewise.
        layers: the layers taken from --columns, 0 the coarsest: 0,1 or 4-7.
        output: *.npy, *.png (a grid) or a folder (one PNG each).
        layout: grid mixes every row with every column, pairs row i with column i.
        noise_seed: the noise of all images; without it, it is drawn and printed.
        row_labels: for conditional models where rows are seeds or codings: one for all, or one each: 0,5,7-9 or names.
        column_labels: likewise.
        truncation: how far styles go from their mean.
        connection: where the server is.
    """
    name, version = model_version(model)
    with connection.open() as client:
        served = client.get_model(name, version=version)
        target = outputs.output(output, served.input_shape)
        row_source, column_source = source("--rows", rows, served), source("--columns", columns, served)
        labels_of_rows = read_labels("--row-labels", row_labels, served, num_rows("--rows", row_source))
        labels_of_columns = read_labels("--column-labels", column_labels, served, num_rows("--columns", column_source))
        common: dict[str, Any] = {"output_dtype": target.dtype, **asdict(truncation)}
        request = requests.style_mix(
            name,
            row_source,
            column_source,
            layers=numbers("--layers", layers),
            layout=layout,
            noise_seed=noise_seed,
            row_labels=labels_of_rows,
            column_labels=labels_of_columns,
            version=version,
            **common,
        )
        result = run(client, request)
        pictures = result.outputs
        if layout == "grid" and target.format == "png":
            common |= {"noise_seed": result.noise_seed, "version": result.run.version}
            pictures = outputs.with_sources(
                pictures,
                _unmixed(client, name, row_source, labels_of_rows, common),
                _unmixed(client, name, column_source, labels_of_columns, common),
            )
    target.write(pictures)
    show_run(result.run, result.outputs, output, as_json=connection.json, noise_seed=result.noise_seed)


def _unmixed(client: Client, model: str, rows: Source, labels: list[int] | None, common: dict[str, Any]) -> Array:
    """Draw a source itself: the mix of each row with itself that takes no layer of the other."""
    request = requests.style_mix(
        model, rows, rows, layers=(), layout="pairs", row_labels=labels, column_labels=labels, **common
    )
    return client.run(request).outputs
