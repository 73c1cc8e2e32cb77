"""What the layers above know of a runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from latentry_server.sessions.devices import Device
from latentry_server.spec import TensorSpec


class RunOptions(Protocol):
    """What belongs to one run. Another thread may set `terminate`: then the run ends soon, with an error."""

    terminate: bool


class Session(Protocol):
    """One graph, ready to run. `run` is called by one thread at a time."""

    @property
    def device(self) -> Device:
        """Where the graph runs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's own inputs; an axis of unknown length is -1."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's own outputs; an axis of unknown length is -1."""

    def run_options(self) -> RunOptions:
        """Make the options of one run."""

    def run(self, inputs: Mapping[str, NDArray[Any]], options: RunOptions | None = None) -> dict[str, NDArray[Any]]:
        """Map inputs [N, ...] to outputs [N, ...], by name. Raises what the runtime raises."""

    def close(self) -> None:
        """Free what the graph holds; no run comes after."""


class Runtime(Protocol):
    """Makes sessions in two steps: the slow one may be done in another process. Goes to it pickled."""

    def prepare(self, graph: bytes, file: Path) -> Session:
        """Open an ONNX graph, and leave at `file` (and beside it) what `open` takes. Raises what the runtime raises."""

    def open(self, file: Path) -> Session:
        """Open what was prepared. Raises what the runtime raises."""
