"""Each operation from request to response message; the unary RPCs and Stream share them."""

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
    to_run_info,
    to_source,
    to_tensor,
    to_truncation,
)

Handler = Callable[[Call, Any], Awaitable[Any]]


async def encode(call: Call, request: messages.EncodeRequest) -> messages.EncodeResponse:
    """Handle Encode."""
    encoded = await run_encode(call, to_array(request.inputs, "inputs"))
    return messages.EncodeResponse(
        run=to_run_info(call),
        codings=to_tensor(encoded.codings),
        log_variance=None if encoded.log_variance is None else to_tensor(encoded.log_variance),
        styles=None if encoded.styles is None else to_tensor(encoded.styles),
    )


async def decode(call: Call, request: messages.DecodeRequest) -> messages.DecodeResponse:
    """Handle Decode."""
    outputs = await run_decode(
        call,
        to_array(request.codings, "codings"),
        labels=request.labels,
        truncation=to_truncation(request),
        output_dtype=to_dtype(request.output_dtype, "output_dtype"),
    )
    return messages.DecodeResponse(run=to_run_info(call), outputs=to_tensor(outputs))


async def denoise(call: Call, request: messages.DenoiseRequest) -> messages.DenoiseResponse:
    """Handle Denoise."""
    inputs, output_dtype = to_array(request.inputs, "inputs"), to_dtype(request.output_dtype, "output_dtype")
    outputs = await run_denoise(call, inputs, output_dtype=output_dtype)
    return messages.DenoiseResponse(run=to_run_info(call), outputs=to_tensor(outputs))


async def reconstruct(call: Call, request: messages.ReconstructRequest) -> messages.ReconstructResponse:
    """Handle Reconstruct."""
    inputs, output_dtype = to_array(request.inputs, "inputs"), to_dtype(request.output_dtype, "output_dtype")
    outputs = await run_reconstruct(call, inputs, output_dtype=output_dtype)
    return messages.ReconstructResponse(run=to_run_info(call), outputs=to_tensor(outputs))


async def sample(call: Call, request: messages.SampleRequest) -> messages.SampleResponse:
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
    return messages.SampleResponse(
        run=to_run_info(call),
        outputs=to_tensor(sampled.outputs),
        seed=sampled.seed,
        codings=to_tensor(sampled.codings) if request.include_codings else None,
        labels=sampled.labels,
    )


async def interpolate(call: Call, request: messages.InterpolateRequest) -> messages.InterpolateResponse:
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
    return messages.InterpolateResponse(run=to_run_info(call), outputs=to_tensor(outputs))


async def score(call: Call, request: messages.ScoreRequest) -> messages.ScoreResponse:
    """Handle Score."""
    scores = await run_score(call, to_array(request.inputs, "inputs"), labels=request.labels)
    threshold = call.spec.score_threshold
    return messages.ScoreResponse(run=to_run_info(call), scores=to_tensor(scores), threshold=threshold)


async def style_mix(call: Call, request: messages.StyleMixRequest) -> messages.StyleMixResponse:
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
    outputs = to_tensor(mixed.outputs)
    return messages.StyleMixResponse(run=to_run_info(call), outputs=outputs, noise_seed=mixed.noise_seed)


async def classify(call: Call, request: messages.ClassifyRequest) -> messages.ClassifyResponse:
    """Handle Classify."""
    classified = await run_classify(call, to_array(request.inputs, "inputs"))
    return messages.ClassifyResponse(
        run=to_run_info(call),
        labels=classified.labels.tolist(),
        probabilities=to_tensor(classified.probabilities),
        label_names=call.spec.label_names,
    )


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
