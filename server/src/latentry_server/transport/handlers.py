"""Each operation from request to response message, which it fills; the unary RPCs and Stream share them."""

from collections.abc import Awaitable, Callable
from typing import Any

from latentry.v1 import inference_service_pb2 as messages

from latentry_server.operations.call import Call
from latentry_server.operations.classify import classify as run_classify
from latentry_server.operations.decode import decode as run_decode
from latentry_server.operations.encode import encode as run_encode
from latentry_server.operations.interpolate import interpolate as run_interpolate
from latentry_server.operations.reconstruct import denoise as run_denoise
from latentry_server.operations.reconstruct import reconstruct as run_reconstruct
from latentry_server.operations.sample import sample as run_sample
from latentry_server.operations.score import score as run_score
from latentry_server.operations.style_mix import style_mix as run_style_mix
from latentry_server.transport.converters import (
    to_array,
    to_dtype,
    to_layout,
    to_mode,
    to_source,
    to_truncation,
    write_run_info,
    write_tensor,
)

Handler = Callable[[Call, Any, Any], Awaitable[None]]


async def encode(call: Call, request: messages.EncodeRequest, response: messages.EncodeResponse) -> None:
    """Handle Encode."""
    encoded = await run_encode(call, to_array(request.inputs, "inputs"))
    write_run_info(response.run, call)
    write_tensor(response.codings, encoded.codings)
    if encoded.log_variance is not None:
        write_tensor(response.log_variance, encoded.log_variance)
    if encoded.styles is not None:
        write_tensor(response.styles, encoded.styles)


async def decode(call: Call, request: messages.DecodeRequest, response: messages.DecodeResponse) -> None:
    """Handle Decode."""
    outputs = await run_decode(
        call,
        to_array(request.codings, "codings"),
        labels=request.labels,
        truncation=to_truncation(request),
        output_dtype=to_dtype(request.output_dtype, "output_dtype"),
    )
    write_run_info(response.run, call)
    write_tensor(response.outputs, outputs)


async def denoise(call: Call, request: messages.DenoiseRequest, response: messages.DenoiseResponse) -> None:
    """Handle Denoise."""
    inputs, output_dtype = to_array(request.inputs, "inputs"), to_dtype(request.output_dtype, "output_dtype")
    outputs = await run_denoise(call, inputs, output_dtype=output_dtype)
    write_run_info(response.run, call)
    write_tensor(response.outputs, outputs)


async def reconstruct(call: Call, request: messages.ReconstructRequest, response: messages.ReconstructResponse) -> None:
    """Handle Reconstruct."""
    inputs, output_dtype = to_array(request.inputs, "inputs"), to_dtype(request.output_dtype, "output_dtype")
    outputs = await run_reconstruct(call, inputs, output_dtype=output_dtype)
    write_run_info(response.run, call)
    write_tensor(response.outputs, outputs)


async def sample(call: Call, request: messages.SampleRequest, response: messages.SampleResponse) -> None:
    """Handle Sample."""
    sampled = await run_sample(
        call,
        request.count,
        seed=request.seed if request.HasField("seed") else None,
        first_row=request.first_row,
        labels=request.labels,
        truncation=to_truncation(request),
        output_dtype=to_dtype(request.output_dtype, "output_dtype"),
    )
    write_run_info(response.run, call)
    write_tensor(response.outputs, sampled.outputs)
    response.seed = sampled.seed
    if request.include_codings:
        write_tensor(response.codings, sampled.codings)
    response.labels.extend(sampled.labels)


async def interpolate(call: Call, request: messages.InterpolateRequest, response: messages.InterpolateResponse) -> None:
    """Handle Interpolate."""
    outputs = await run_interpolate(
        call,
        to_source(request.start, "start"),
        to_source(request.end, "end"),
        steps=request.steps,
        mode=to_mode(request.mode),
        labels=request.labels,
        truncation=to_truncation(request),
        output_dtype=to_dtype(request.output_dtype, "output_dtype"),
    )
    write_run_info(response.run, call)
    write_tensor(response.outputs, outputs)


async def score(call: Call, request: messages.ScoreRequest, response: messages.ScoreResponse) -> None:
    """Handle Score."""
    scores = await run_score(call, to_array(request.inputs, "inputs"), labels=request.labels)
    write_run_info(response.run, call)
    write_tensor(response.scores, scores)
    if call.spec.score_threshold is not None:
        response.threshold = call.spec.score_threshold


async def style_mix(call: Call, request: messages.StyleMixRequest, response: messages.StyleMixResponse) -> None:
    """Handle StyleMix."""
    mixed = await run_style_mix(
        call,
        to_source(request.rows, "rows"),
        to_source(request.columns, "columns"),
        layers=request.layers,
        layout=to_layout(request.layout),
        truncation=to_truncation(request),
        noise_seed=request.noise_seed if request.HasField("noise_seed") else None,
        row_labels=request.row_labels,
        column_labels=request.column_labels,
        output_dtype=to_dtype(request.output_dtype, "output_dtype"),
    )
    write_run_info(response.run, call)
    write_tensor(response.outputs, mixed.outputs)
    response.noise_seed = mixed.noise_seed


async def classify(call: Call, request: messages.ClassifyRequest, response: messages.ClassifyResponse) -> None:
    """Handle Classify."""
    classified = await run_classify(call, to_array(request.inputs, "inputs"))
    write_run_info(response.run, call)
    response.labels.extend(classified.labels.tolist())
    write_tensor(response.probabilities, classified.probabilities)
    response.label_names.extend(call.spec.label_names)


# By the names of StreamRequest's and StreamResponse's fields.
HANDLERS: dict[str, Handler] = {
    "encode": encode,
    "decode": decode,
    "denoise": denoise,
    "reconstruct": reconstruct,
    "sample": sample,
    "interpolate": interpolate,
    "score": score,
    "style_mix": style_mix,
    "classify": classify,
}
