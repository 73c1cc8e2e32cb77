"""Reconstruct and Denoise: inputs to codings and back, in one run of the denoiser graph."""

from typing import Any

from numpy.typing import DTypeLike, NDArray

from latentry_server.operations import checks
from latentry_server.operations.call import Call
from latentry_server.operations.images import from_float, to_float
from latentry_server.spec import Capability, GraphRole


async def reconstruct(call: Call, inputs: NDArray[Any], *, output_dtype: DTypeLike) -> NDArray[Any]:
    """Map inputs [N, *input] to their reconstructions."""
    call.require(Capability.RECONSTRUCT)
    return await _run_denoiser(call, inputs, output_dtype)


async def denoise(call: Call, inputs: NDArray[Any], *, output_dtype: DTypeLike) -> NDArray[Any]:
    """Remove the noise from inputs [N, *input]; only models trained on corrupted inputs do."""
    call.require(Capability.DENOISE)
    return await _run_denoiser(call, inputs, output_dtype)


async def _run_denoiser(call: Call, inputs: NDArray[Any], output_dtype: DTypeLike) -> NDArray[Any]:
    checks.output_dtype(output_dtype)
    checks.images(call, inputs, "inputs", row_bytes=call.output_bytes(output_dtype))
    outputs = await call.run(GraphRole.DENOISER, {"inputs": to_float(inputs)})
    return from_float(outputs["outputs"], output_dtype)
