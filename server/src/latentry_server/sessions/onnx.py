"""Sessions of onnxruntime."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from latentry_server.sessions.devices import Device, has_device, providers
from latentry_server.sessions.session import RunOptions
from latentry_server.spec import TensorSpec

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
}
_ERRORS_ONLY = 3
_MIN_WEIGHT_BYTES = "1024"  # weights of fewer bytes stay in a prepared graph's file


def _share_arena() -> None:
    """Let all sessions of this process take their memory from one arena, which ends as large as the busiest moment.

    With an arena each, every graph keeps what its largest batch needed, though few graphs run at a time.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    defaults = onnxruntime.OrtArenaCfg(0, -1, -1, -1)
    onnxruntime.create_and_register_allocator(memory, defaults)


_share_arena()  # once a process, before any session


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime:
    """A `Runtime` of onnxruntime on one device, `num_threads` CPU threads a session."""

    device: Device
    num_threads: int

    def prepare(self, graph: bytes, file: Path) -> "OnnxSession":
        """Open an ONNX graph, and leave at `file` what `open` takes.

        On the CPU that is the optimised graph, with its weights in a file beside it: opening it parses no weights, for
        which onnxruntime would hold the GIL, and optimises nothing. On CUDA it is the graph as it came.

        Raises:
            ValueError: a tensor has a type that no bundle uses.
            RuntimeError: the session did not get the device.
            Exception: whatever onnxruntime raises where it refuses the graph.
        """
        options = self._options()
        if self.device.kind == "cpu":
            options.optimized_model_filepath = str(file)
            for key, value in (("file_name", f"{file.stem}.weights"), ("min_size_in_bytes", _MIN_WEIGHT_BYTES)):
                options.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
        else:
            file.write_bytes(graph)
        return OnnxSession(graph, options, device=self.device)

    def open(self, file: Path) -> "OnnxSession":
        """Open what was prepared; raises what `prepare` raises."""
        options = self._options()
        if self.device.kind == "cpu":
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return OnnxSession(str(file), options, device=self.device)

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that spin take the cores from the other sessions and from the event loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.device.kind == "cpu":
            options.add_session_config_entry("session.use_env_allocators", "1")  # the shared arena
        return options


class OnnxSession:
    """A `Session` of onnxruntime. Blocks while it runs, with the GIL released."""

    def __init__(self, graph: bytes | str, options: onnxruntime.SessionOptions, *, device: Device) -> None:
        """Build the session from an ONNX file's bytes or path; see `OnnxRuntime.prepare` for the errors."""
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

    def run_options(self) -> RunOptions:
        """Make the options of one run; onnxruntime looks at `terminate` between a graph's nodes."""
        options: RunOptions = onnxruntime.RunOptions()
        return options

    def run(self, inputs: Mapping[str, NDArray[Any]], options: RunOptions | None = None) -> dict[str, NDArray[Any]]:
        """Map inputs [N, ...] to outputs [N, ...], by name. Raises what onnxruntime raises."""
        outputs = self._session.run(self._output_names, dict(inputs), options)
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        """Free the graph's memory and threads; no run comes after."""
        del self._session


def _tensor_spec(node: onnxruntime.NodeArg) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ValueError(f"{node.name}: expected one of {', '.join(_DTYPES)}, got {node.type}")
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES[node.type], shape=shape)
