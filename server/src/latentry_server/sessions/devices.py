"""Which device the graphs run on: what was asked for against what onnxruntime really has."""

import logging
import re
from dataclasses import dataclass
from typing import Any

import onnxruntime

from latentry_server.errors import one_line

logger = logging.getLogger(__name__)

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

# The smallest ONNX model, y [1] = Identity(x [1]): only a session shows whether the installed CUDA build gets CUDA.
PROBE = (
    b"\x08\x08:;\n\x10\n\x01x\x12\x01y\x22\x08Identity\x12\x05probe"
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)


@dataclass(frozen=True, slots=True)
class Device:
    """The CPU, or one CUDA device by its index."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def resolve_device(requested: str) -> Device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:<i>` into a device that works.

    Raises:
        ValueError: the word is none of these, or CUDA was asked for and a session does not get it.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", requested)
    if match is None:
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:<index>, got {requested!r}")
    if requested == "cpu":
        return Device("cpu")
    device = Device("cuda", int(match[1] or 0))
    obstacle = _cuda_obstacle(device)
    if obstacle is None:
        return device
    if requested == "auto":
        logger.info("running on the CPU: %s", obstacle)
        return Device("cpu")
    raise ValueError(f"device: {requested} was asked for, but {obstacle}")


def providers(device: Device) -> list[str | tuple[str, dict[str, Any]]]:
    """List the execution providers of a session on the device, with their options."""
    if device.kind == "cpu":
        return [_CPU]
    options = {"device_id": str(device.index), "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    return [(_CUDA, options), _CPU]


def has_device(session: onnxruntime.InferenceSession, device: Device) -> bool:
    """Tell whether the session got the device; onnxruntime falls back to the CPU without an error."""
    return bool(session.get_providers()[0] == (_CPU if device.kind == "cpu" else _CUDA))


def _cuda_obstacle(device: Device) -> str | None:
    """Say what keeps a session from CUDA, or None."""
    if _CUDA not in onnxruntime.get_available_providers():
        return "the installed onnxruntime has no CUDA; install latentry-server[gpu] instead of [cpu]"
    onnxruntime.preload_dlls()  # CUDA and cuDNN from their own wheels: no torch here that would have loaded them
    try:
        session = onnxruntime.InferenceSession(PROBE, providers=providers(device))
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base; each means that CUDA does not work
        return f"onnxruntime could not use {device}: {one_line(error)}"
    if not has_device(session, device):
        return f"onnxruntime could not use {device}; see its log above: driver, CUDA and cuDNN must fit it"
    return None
