"""What both clients share: their options and how an operation becomes a method. No I/O."""

import inspect
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, TypeVar, get_args

from latentry_client import checks
from latentry_client.channel import DEFAULT_ADDRESS, METHODS, Tls, endpoint
from latentry_client.chunking import ChunkLimits
from latentry_client.connections import DEFAULT_MAX_CONNECTIONS, ChannelT, Connections
from latentry_client.exceptions import CallContext
from latentry_client.request import Request

MergerT = TypeVar("MergerT")
MethodT = TypeVar("MethodT", bound=Callable[..., Any])

_DEFAULT_LIMITS = ChunkLimits()
_MIN_MERGED_IN_FLIGHT = 2  # so that one connection is no idle one: one request is computed while another one travels


class BaseClient(ABC, Generic[ChannelT, MergerT]):
    """The options of a client."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tls: Tls | None = None,
        token: str | None = None,
        allow_plaintext_token: bool = False,
        timeout_s: float | None = None,
        max_attempts: int = 5,
        wait_for_ready: bool = False,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        max_rows: int = _DEFAULT_LIMITS.max_rows,
        max_bytes: int = _DEFAULT_LIMITS.max_bytes,
        merge: bool = True,
        tracing: bool = False,
    ) -> None:
        """Connect, with the first call.

        Args:
            address: HOST:PORT or unix:PATH.
            tls: None: plain text.
            token: the bearer token. It is sent in plain text to this machine only.
            allow_plaintext_token: whether it may be sent in plain text anywhere.
            timeout_s: seconds that each call may take, retries included; None: 60 for inference, as fits for the rest.
            max_attempts: how often a call is tried while the server is away or its queue is full, 1 to 5. Loading and
                unloading are tried once.
            wait_for_ready: whether calls wait for the server to appear, up to their timeout.
            max_connections: connections to the server, so that all of its workers are used; another one is opened only
                while all have calls in flight.
            max_rows: rows that one call carries; larger requests are split, and the results joined.
            max_bytes: bytes that one call carries, likewise.
            merge: whether concurrent calls of one operation are sent as one, within both bounds.
            tracing: whether the server is told of the OpenTelemetry span that a call is made in, so that the server's
                spans are below it; of calls that are sent as one, that of the first. Needs the extra `tracing`.

        Raises:
            ValueError: an option is out of its range, the token would cross a network in plain text, or OpenTelemetry
                is missing.
            OSError: a file of `tls` cannot be read.
        """
        checks.timeout_s(timeout_s)
        self._endpoint = endpoint(
            address,
            tls=tls,
            token=token,
            allow_plaintext_token=allow_plaintext_token,
            max_attempts=max_attempts,
        )
        self._limits = ChunkLimits(max_rows=max_rows, max_bytes=max_bytes)
        self._timeouts_s = {rpc: timeout_s or method.timeout_s for rpc, method in METHODS.items()}
        self._wait_for_ready = wait_for_ready
        self._max_attempts = max_attempts
        self._inject = _injector() if tracing else None
        self._connections: Connections[ChannelT] = Connections(self._open, max_connections=max_connections)
        self._merger = self._make_merger(self._limits, max(_MIN_MERGED_IN_FLIGHT, max_connections)) if merge else None

    @abstractmethod
    def _open(self) -> ChannelT:
        """Open the client's kind of channel."""

    @abstractmethod
    def _make_merger(self, limits: ChunkLimits, max_in_flight: int) -> MergerT:
        """Make the client's kind of merger."""

    def _timeout_s_of(self, request: Request[Any]) -> float:
        """Return the seconds that each call of a request may take: its own, the client's, or the RPC's."""
        return self._timeouts_s[request.rpc] if request.timeout_s is None else request.timeout_s

    def _call_options(self, timeout_s: float | None) -> dict[str, Any]:
        """Return what gRPC takes beside a request's message."""
        return {
            "timeout": timeout_s,
            "metadata": self._metadata(),
            "wait_for_ready": self._wait_for_ready,
        }

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what is sent beside every call: the token, and the place in a trace."""
        if self._inject is None:
            return self._endpoint.metadata
        headers: dict[str, str] = {}
        self._inject(headers)
        return (*self._endpoint.metadata, *headers.items())

    def _stream_options(self, deadline_s: float) -> dict[str, Any]:
        """Likewise for a stream, which a client's timeout_s, made for single calls, does not end."""
        return self._call_options(None if deadline_s == math.inf else deadline_s - time.monotonic())


def stream_deadline_s(timeout_s: float | None) -> float:
    """Say when, on the monotonic clock, a stream that begins now is to be over."""
    checks.timeout_s(timeout_s)
    return math.inf if timeout_s is None else time.monotonic() + timeout_s


def _injector() -> Callable[[dict[str, str]], None]:
    """Return what writes the present span as W3C's `traceparent` and `tracestate`."""
    try:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
    except ImportError as error:
        raise ValueError("tracing: expected OpenTelemetry: pip install 'latentry-client[tracing]'") from error
    return TraceContextTextMapPropagator().inject


def context(request: Request[Any], rows: slice) -> CallContext:
    """Say which call an error belongs to."""
    is_part = rows.stop - rows.start < request.rows
    return CallContext(request.rpc, request.model, rows if is_part else None)


def as_method_of(method: MethodT, build: Callable[..., Request[Any]]) -> MethodT:
    """Give a method the name, the help text and the signature of the function that builds its request."""
    update_wrapper(method, build)
    signature = inspect.signature(build)
    self_parameter = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    (result,) = get_args(signature.return_annotation)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[self_parameter, *signature.parameters.values()], return_annotation=result
    )
    return method
