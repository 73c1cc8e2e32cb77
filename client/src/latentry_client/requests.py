"""Arguments → Request: each operation's signature, checks and message, once for both clients and for streams. Pure.

`Client.encode(...)` is `Client.run(requests.encode(...))`, and so with every other operation.

All take `version`, 0 for the newest that is ready, and `timeout_s`, the seconds that each call may take (None: the
client's). `inputs` follow the rules of `tensors`. Arguments that a message cannot hold raise ValueError; all else is
checked by the server, which answers with `exceptions.InvalidArgumentError`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from latentry.v1 import inference_service_pb2 as pb
from latentry.v1 import model_service_pb2 as model_pb

from latentry_client import checks, responses, sources, tensors
from latentry_client.request import PlainRequest, Request, RowOperation, RowRequest
from latentry_client.results import (
    Classification,
    Encoding,
    Hashes,
    Health,
    Model,
    ModelPage,
    Outputs,
    Samples,
    Scores,
    StyleMixes,
)
from latentry_client.tensors import Inputs, OutputDtype

__all__ = [
    "Request",
    "classify",
    "decode",
    "denoise",
    "encode",
    "get_model",
    "hash",
    "health",
    "interpolate",
    "list_models",
    "load_model",
    "reconstruct",
    "sample",
    "score",
    "style_mix",
    "unload_model",
]

R_co = TypeVar("R_co", covariant=True)

Labels: TypeAlias = Sequence[int] | npt.NDArray[np.integer]

_MODES = {"linear": pb.INTERPOLATION_MODE_LINEAR, "spherical": pb.INTERPOLATION_MODE_SPHERICAL}
_LAYOUTS = {"grid": pb.STYLE_MIX_LAYOUT_GRID, "pairs": pb.STYLE_MIX_LAYOUT_PAIRS}

# One object for each operation, model and options in use, checked once: calls are told alike at a glance.
_cached = lru_cache(maxsize=1024, typed=True)


def encode(model: str, inputs: Inputs, *, version: int = 0, timeout_s: float | None = None) -> Request[Encoding]:
    """Map inputs to their codings."""
    return RowRequest(_encoding(model, version), tensors.batch(inputs), timeout_s)


def hash(  # noqa: A001 - the operation's name
    model: str, inputs: Inputs, *, version: int = 0, timeout_s: float | None = None
) -> Request[Hashes]:
    """Map inputs to the binary codes of a model trained for semantic hashing: like inputs have like codes.

    On the wire it is Encode. A model whose codings are not between 0 and 1 raises FailedPreconditionError.
    """
    return RowRequest(_hashing(model, version), tensors.batch(inputs), timeout_s)


def denoise(
    model: str,
    inputs: Inputs,
    *,
    version: int = 0,
    output_dtype: OutputDtype = "float32",
    timeout_s: float | None = None,
) -> Request[Outputs]:
    """Remove the noise from inputs."""
    return RowRequest(_denoising(model, version, output_dtype), tensors.batch(inputs), timeout_s)


def reconstruct(
    model: str,
    inputs: Inputs,
    *,
    version: int = 0,
    output_dtype: OutputDtype = "float32",
    timeout_s: float | None = None,
) -> Request[Outputs]:
    """Map inputs to their codings and back."""
    return RowRequest(_reconstruction(model, version, output_dtype), tensors.batch(inputs), timeout_s)


def score(
    model: str,
    inputs: Inputs,
    *,
    labels: Labels | None = None,
    version: int = 0,
    timeout_s: float | None = None,
) -> Request[Scores]:
    """Score inputs by how unusual they are: how badly the model reconstructs them, or how little real to its critic.

    Args:
        model: the model's name.
        inputs: by the rules of `tensors`.
        labels: one a row; needed by models whose critic is conditional, refused by others.
        version: 0 = the newest that is ready.
        timeout_s: seconds that each call may take; None: the client's default.
    """
    array = tensors.batch(inputs)
    return RowRequest(_scoring(model, version), array, timeout_s, checks.labels("labels", labels, len(array)))


def classify(
    model: str, inputs: Inputs, *, version: int = 0, timeout_s: float | None = None
) -> Request[Classification]:
    """Say how probable each label is."""
    return RowRequest(_classification(model, version), tensors.batch(inputs), timeout_s)


def decode(
    model: str,
    codings: npt.ArrayLike,
    *,
    labels: Labels | None = None,
    version: int = 0,
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    output_dtype: OutputDtype = "float32",
    timeout_s: float | None = None,
) -> Request[Outputs]:
    """Map codings to outputs.

    Args:
        model: the model's name.
        codings: [N, *codings].
        labels: one a row; needed by conditional models, refused by others.
        version: 0 = the newest that is ready.
        truncation_psi: ψ, how far styles go from their mean, -2 to 2. Style-based generators only.
        truncation_cutoff: the number of layers that are truncated, from the coarsest; None: all.
        output_dtype: float32 in [0, 1], or uint8.
        timeout_s: seconds that each call may take; None: the client's default.
    """
    operation = _decoding(model, version, truncation_psi, truncation_cutoff, output_dtype)
    array = tensors.floats("codings", codings)
    return RowRequest(operation, array, timeout_s, checks.labels("labels", labels, len(array)))


def sample(
    model: str,
    count: int,
    *,
    seed: int | None = None,
    first_row: int = 0,
    labels: Labels | None = None,
    version: int = 0,
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    include_codings: bool = False,
    output_dtype: OutputDtype = "float32",
    timeout_s: float | None = None,
) -> Request[Samples]:
    """Draw new outputs: row i depends on the model's version, the seed and i alone.

    Args:
        model: the model's name.
        count: how many, at least 1.
        seed: 0 to 2⁶⁴ - 1; None: drawn by the server and returned.
        first_row: the first row's i, at least 0: to go on where an earlier call ended.
        labels: one a row; refused by models that are not conditional; None: drawn from the seed.
        version: 0 = the newest that is ready.
        truncation_psi: ψ, how far styles go from their mean, -2 to 2. Style-based generators only.
        truncation_cutoff: the number of layers that are truncated, from the coarsest; None: all.
        include_codings: whether the result carries the codings too.
        output_dtype: float32 in [0, 1], or uint8.
        timeout_s: seconds that each call may take; None: the client's default.
    """
    count = checks.int32("count", count, minimum=1)
    first = checks.int64("first_row", first_row)
    values = checks.labels("labels", labels, count)
    common = _common(model, version, truncation_psi, truncation_cutoff, output_dtype)
    seed = None if seed is None else checks.uint64("seed", seed)
    return PlainRequest(
        rpc="Sample",
        build=lambda rows: pb.SampleRequest(
            **common,
            count=rows.stop - rows.start,
            seed=seed,
            first_row=first + rows.start,
            labels=values[rows],
            include_codings=include_codings,
        ),
        parse=responses.samples,
        model=model,
        timeout_s=timeout_s,
        rows=count,
    )


def interpolate(
    model: str,
    start: sources.Source,
    end: sources.Source,
    *,
    steps: int,
    mode: Literal["linear", "spherical"] | None = None,
    labels: Labels | None = None,
    version: int = 0,
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    output_dtype: OutputDtype = "float32",
    timeout_s: float | None = None,
) -> Request[Outputs]:
    """Decode the way between two rows.

    Args:
        model: the model's name.
        start: where the N ways start: inputs, FromCodings, FromSeeds or FromStyles.
        end: where they end: N rows too.
        steps: points on each way, both ends included: at least 2.
        mode: how the points lie; None: linear for models that reconstruct and, of style-based generators, where a
            source is inputs or FromStyles; spherical for others.
        labels: one a way; needed by conditional models but for linear ways from styles to styles, as they are given or
            as inputs are encoded to; refused by others.
        version: 0 = the newest that is ready.
        truncation_psi: ψ, how far styles go from their mean, -2 to 2. Style-based generators only.
        truncation_cutoff: the number of layers that are truncated, from the coarsest; None: all.
        output_dtype: float32 in [0, 1], or uint8.
        timeout_s: seconds that each call may take; None: the client's default.
    """
    starts, ends = sources.rows_of("start", start), sources.rows_of("end", end)
    _check_pairs("start", starts, "end", ends)
    steps = checks.int32("steps", steps)
    values = checks.labels("labels", labels, len(starts))
    common = _common(model, version, truncation_psi, truncation_cutoff, output_dtype)
    mode_value = pb.INTERPOLATION_MODE_UNSPECIFIED if mode is None else checks.choice("mode", mode, _MODES)
    return PlainRequest(
        rpc="Interpolate",
        build=lambda rows: pb.InterpolateRequest(
            **common,
            start=starts.message(rows),
            end=ends.message(rows),
            steps=steps,
            mode=mode_value,
            labels=values[rows],
        ),
        parse=responses.outputs,
        model=model,
        timeout_s=timeout_s,
        rows=len(starts),
        row_cost=max(1, steps),
        row_bytes=starts.row_bytes + ends.row_bytes,
    )


def style_mix(
    model: str,
    rows: sources.Source,
    columns: sources.Source,
    *,
    layers: Sequence[int],
    layout: Literal["grid", "pairs"] = "grid",
    noise_seed: int | None = None,
    row_labels: Labels | None = None,
    column_labels: Labels | None = None,
    version: int = 0,
    truncation_psi: float | None = None,
    truncation_cutoff: int | None = None,
    output_dtype: OutputDtype = "float32",
    timeout_s: float | None = None,
) -> Request[StyleMixes]:
    """Combine the styles of two sources, layer by layer.

    Args:
        model: the model's name.
        rows: R rows that give all layers but `layers`: FromSeeds, FromCodings, FromStyles, or inputs.
        columns: C rows that give `layers`.
        layers: the layers taken from `columns`, 0 the coarsest, each once; none: `rows` as they are.
        layout: grid mixes every row with every column, pairs row i with column i.
        noise_seed: seed of the noise maps, the same for every image; None: drawn by the server and returned.
        row_labels: one a row of `rows`, for conditional models where they are seeds or codings, or inputs whose encoder
            gives no styles.
        column_labels: one a row of `columns`, likewise.
        version: 0 = the newest that is ready.
        truncation_psi: ψ, how far styles go from their mean, -2 to 2.
        truncation_cutoff: the number of layers that are truncated, from the coarsest; None: all.
        output_dtype: float32 in [0, 1], or uint8.
        timeout_s: seconds that each call may take; None: the client's default.
    """
    row_source, column_source = sources.rows_of("rows", rows), sources.rows_of("columns", columns)
    pairs = checks.choice("layout", layout, _LAYOUTS) == pb.STYLE_MIX_LAYOUT_PAIRS
    if pairs:
        _check_pairs("rows", row_source, "columns", column_source)
    all_columns = slice(0, len(column_source))
    row_values = checks.labels("row_labels", row_labels, len(row_source))
    column_values = checks.labels("column_labels", column_labels, len(column_source))
    layer_values = [checks.int32("layers", layer) for layer in layers]
    noise_seed = None if noise_seed is None else checks.uint64("noise_seed", noise_seed)
    common = _common(model, version, truncation_psi, truncation_cutoff, output_dtype)

    def build(part: slice) -> pb.StyleMixRequest:
        column_part = part if pairs else all_columns
        return pb.StyleMixRequest(
            **common,
            rows=row_source.message(part),
            columns=column_source.message(column_part),
            layers=layer_values,
            layout=_LAYOUTS[layout],
            noise_seed=noise_seed,
            row_labels=row_values[part],
            column_labels=column_values[column_part],
        )

    return PlainRequest(
        rpc="StyleMix",
        build=build,
        parse=responses.style_mixes,
        model=model,
        timeout_s=timeout_s,
        rows=len(row_source),
        row_cost=1 if pairs else max(1, len(column_source)),
        row_bytes=row_source.row_bytes + (column_source.row_bytes if pairs else 0),
    )


def list_models(page_token: str = "", *, timeout_s: float | None = None) -> Request[ModelPage]:
    """List a page of the versions that the server knows."""
    message = model_pb.ListModelsRequest(page_token=page_token)
    return PlainRequest(rpc="ListModels", build=lambda _: message, parse=responses.model_page, timeout_s=timeout_s)


def get_model(model: str, *, version: int = 0, timeout_s: float | None = None) -> Request[Model]:
    """Get one version; 0 = the newest that is ready, or the newest known where none is."""
    message = model_pb.GetModelRequest(model=model, version=checks.int32("version", version))
    return PlainRequest(
        rpc="GetModel", build=lambda _: message, parse=responses.answered_model, model=model, timeout_s=timeout_s
    )


def load_model(model: str, *, version: int = 0, timeout_s: float | None = None) -> Request[Model]:
    """Load a version from the repository, 0 = the newest there, and wait until it is ready."""
    message = model_pb.LoadModelRequest(model=model, version=checks.int32("version", version))
    return PlainRequest(
        rpc="LoadModel", build=lambda _: message, parse=responses.answered_model, model=model, timeout_s=timeout_s
    )


def unload_model(model: str, *, version: int = 0, timeout_s: float | None = None) -> Request[tuple[Model, ...]]:
    """Unload a version, 0 = all that are loaded, after its requests in flight are answered."""
    message = model_pb.UnloadModelRequest(model=model, version=checks.int32("version", version))
    return PlainRequest(
        rpc="UnloadModel", build=lambda _: message, parse=responses.unloaded, model=model, timeout_s=timeout_s
    )


def health(model: str = "", *, version: int = 0, timeout_s: float | None = None) -> Request[Health]:
    """Ask whether a model, or one version of it, answers requests; without a model, whether the server does."""
    service = f"{model}/{checks.int32('version', version)}" if version else model
    message = health_pb2.HealthCheckRequest(service=service)
    return PlainRequest(rpc="Check", build=lambda _: message, parse=responses.health, model=model, timeout_s=timeout_s)


@_cached
def _encoding(model: str, version: int) -> RowOperation[Encoding]:
    return _on_inputs("Encode", pb.EncodeRequest, responses.encoding, model, version)


@_cached
def _hashing(model: str, version: int) -> RowOperation[Hashes]:
    return _on_inputs("Encode", pb.EncodeRequest, responses.hashes, model, version)


@_cached
def _classification(model: str, version: int) -> RowOperation[Classification]:
    return _on_inputs("Classify", pb.ClassifyRequest, responses.classification, model, version)


@_cached
def _denoising(model: str, version: int, output_dtype: OutputDtype) -> RowOperation[Outputs]:
    message = partial(pb.DenoiseRequest, output_dtype=tensors.data_type(output_dtype))
    return _on_inputs("Denoise", message, responses.outputs, model, version)


@_cached
def _reconstruction(model: str, version: int, output_dtype: OutputDtype) -> RowOperation[Outputs]:
    message = partial(pb.ReconstructRequest, output_dtype=tensors.data_type(output_dtype))
    return _on_inputs("Reconstruct", message, responses.outputs, model, version)


def _on_inputs(
    rpc: str, message: Callable[..., Message], parse: Callable[[Any], R_co], model: str, version: int
) -> RowOperation[R_co]:
    version = checks.int32("version", version)
    return RowOperation(
        rpc=rpc,
        model=model,
        message=lambda rows, _labels: message(model=model, version=version, inputs=rows),
        parse=parse,
    )


@_cached
def _scoring(model: str, version: int) -> RowOperation[Scores]:
    version = checks.int32("version", version)
    return RowOperation(
        rpc="Score",
        model=model,
        message=lambda rows, labels: pb.ScoreRequest(model=model, version=version, inputs=rows, labels=labels),
        parse=responses.scores,
    )


@_cached
def _decoding(
    model: str, version: int, psi: float | None, cutoff: int | None, output_dtype: OutputDtype
) -> RowOperation[Outputs]:
    common = _common(model, version, psi, cutoff, output_dtype)
    return RowOperation(
        rpc="Decode",
        model=model,
        message=lambda rows, labels: pb.DecodeRequest(**common, codings=rows, labels=labels),
        parse=responses.outputs,
    )


def _common(
    model: str, version: int, psi: float | None, cutoff: int | None, output_dtype: OutputDtype
) -> dict[str, Any]:
    if psi is None and cutoff is not None:
        raise ValueError("truncation_cutoff: expected with truncation_psi, got it alone")
    fields = {
        "model": model,
        "version": checks.int32("version", version),
        "output_dtype": tensors.data_type(output_dtype),
    }
    if psi is not None:
        cutoff = None if cutoff is None else checks.int32("truncation_cutoff", cutoff)
        fields["truncation"] = pb.Truncation(psi=psi, cutoff=cutoff)
    return fields


def _check_pairs(name: str, rows: sources.SourceRows, other_name: str, other: sources.SourceRows) -> None:
    if len(rows) != len(other):
        raise ValueError(f"{other_name}: expected {len(rows)} rows, as many as {name}, got {len(other)}")
