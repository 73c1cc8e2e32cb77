"""Sessions of onnxruntime."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from latentry_server.sessions.devices import Device, has_device, providers
from latentry_server.spec import TensorSpec

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
}
_ERRORS_ONLY = 3


class OnnxSession:
    """A `Session` of onnxruntime. Blocks while it runs, with the GIL released."""

    def __init__(self, graph: bytes, *, device: Device, num_threads: int) -> None:
        """Build the session from an ONNX file's bytes.

        Raises:
            ValueError: a tensor has a type that no bundle uses.
            RuntimeError: the session did not get the device.
            Exception: whatever onnxruntime raises where it refuses the graph.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that spin take the cores from the other sessions and from the event loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(graph, options, providers=providers(device))
        self._session.disable_fallback()  # a run that fails on CUDA is an error, not a reason to go on slowly
        if not has_device(self._session, device):
            raise RuntimeError(f"onnxruntime could not use {device}")
        self._device = device
        self._inputs = tuple(_tensor_spec(node) for node in self._session.get_inputs())
        self._outputs = tuple(_tensor_spec(node) for node in self._session.get_outputs())
        self._output_names = [spec.name for spec in self._outputs]

    @property
    def device(self) -> Device:
        """Where the graph runs."""
        return self._device

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's own inputs; an axis of unknown length is -1."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's own outputs; an axis of unknown length is -1."""
        return self._outputs

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Map inputs [N, ...] to outputs [N, ...], by name. Raises what onnxruntime raises."""
        return dict(zip(self._output_names, self._session.run(self._output_names, dict(inputs)), strict=True))

    def close(self) -> None:
        """Free the graph's memory and threads; no run comes after."""
        del self._session


def _tensor_spec(node: onnxruntime.NodeArg) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ValueError(f"{node.name}: expected one of {', '.join(_DTYPES)}, got {node.type}")
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES[node.type], shape=shape)
