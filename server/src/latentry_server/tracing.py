"""What a trace is told of a call, where tracing is on. `telemetry.py` has OpenTelemetry's side of it."""

from contextvars import ContextVar
from typing import Any, Protocol


class CallTrace(Protocol):
    """The trace of one call."""

    def ran(self, *, model: str, version: int, graph: str, rows: int, queue_s: float, compute_s: float) -> None:
        """Tell that a graph has just run, and how long its rows waited and it took."""

    def end(self, code: int, name: str) -> None:
        """Tell how the call ended: the status code and its name."""


class Tracer(Protocol):
    """Makes traces."""

    def start(self, service: str, method: str, *, metadata: Any, peer: str) -> CallTrace:  # noqa: ANN401
        """Begin a call's trace, as a part of the caller's where the metadata names one."""


current_trace: ContextVar[CallTrace | None] = ContextVar("current_trace", default=None)
"""The trace of the call that a task works for; a task takes it on from the one that has made it."""
