"""What can go wrong, one class a gRPC status.

- LatentryError
  - InvalidArgumentError, also a ValueError: a field is wrong; `field_violations` says which and why
  - NotFoundError: no such model or version
  - FailedPreconditionError: the model lacks the operation, or its bundle is broken; `reason` tells them apart
  - ResourceExhaustedError: the queue is full (`retry_delay_s`), or a message is over the size limit
  - DeadlineExceededError, also a TimeoutError: no answer within timeout_s
  - UnavailableError: no server there, it is shutting down, or the model is not ready
  - UnauthenticatedError: the token or certificate is missing or wrong
  - PermissionDeniedError: the credentials do not allow it
  - UnimplementedError: the server does not know the call
  - ServerError: the server failed
  - BadResponseError: the server's answer does not follow the API

What is wrong with an argument before anything is sent is a plain ValueError that names it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

MessageT = TypeVar("MessageT", bound=Message)

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    """Its path in the request: `inputs.shape`."""
    description: str
    """What was expected and what came."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Which call an error belongs to."""

    rpc: str
    """The RPC: `Encode`."""
    model: str = ""
    """The model's name; empty where the call concerns none."""
    rows: slice | None = None
    """The rows that the failed call carried, where a large request was split; None: all."""

    def __str__(self) -> str:
        model = f" of {self.model!r}" if self.model else ""
        rows = f", rows {self.rows.start} to {self.rows.stop - 1}" if self.rows else ""
        return f"{self.rpc}{model}{rows}"


class LatentryError(Exception):
    """Base of everything that a server, or the way to it, can answer instead of a result."""

    def __init__(
        self,
        message: str,
        *,
        call: CallContext | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        field_violations: tuple[FieldViolation, ...] = (),
        retry_delay_s: float | None = None,
    ) -> None:
        """Hold what is known of the failure.

        Args:
            message: the server's words.
            call: the call that failed.
            reason: the ErrorReason without its prefix, such as QUEUE_FULL.
            metadata: what the reason comes with.
            field_violations: which fields are wrong.
            retry_delay_s: when to try again, in seconds, where the server says so.
        """
        super().__init__(f"{call}: {message}" if call else message)
        self.message = message
        self.call = call
        self.reason = reason
        self.metadata = dict(metadata)
        self.field_violations = field_violations
        self.retry_delay_s = retry_delay_s


class InvalidArgumentError(LatentryError, ValueError):
    """A field of the request is wrong."""


class NotFoundError(LatentryError):
    """There is no such model or version."""


class FailedPreconditionError(LatentryError):
    """The model lacks the operation, or its bundle is broken."""


class ResourceExhaustedError(LatentryError):
    """The queue is full, or a message is over the size limit."""


class DeadlineExceededError(LatentryError, TimeoutError):
    """No answer came in time."""


class UnavailableError(LatentryError):
    """No server is there, it is shutting down, or the model is not ready."""


class UnauthenticatedError(LatentryError):
    """The credentials are missing or wrong."""


class PermissionDeniedError(LatentryError):
    """The credentials do not allow the call."""


class UnimplementedError(LatentryError):
    """The server does not know the call."""


class ServerError(LatentryError):
    """The server failed."""


class BadResponseError(LatentryError):
    """The server's answer does not follow the API."""


_UNSENT = "Internal error from Core"
"""What grpc.aio says where a message cannot be sent since the call has ended; it hides why that has ended."""

_EXCEPTIONS: Mapping[int, type[LatentryError]] = {
    code_pb2.INVALID_ARGUMENT: InvalidArgumentError,
    code_pb2.OUT_OF_RANGE: InvalidArgumentError,
    code_pb2.NOT_FOUND: NotFoundError,
    code_pb2.FAILED_PRECONDITION: FailedPreconditionError,
    code_pb2.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    code_pb2.DEADLINE_EXCEEDED: DeadlineExceededError,
    code_pb2.UNAVAILABLE: UnavailableError,
    code_pb2.UNAUTHENTICATED: UnauthenticatedError,
    code_pb2.PERMISSION_DENIED: PermissionDeniedError,
    code_pb2.UNIMPLEMENTED: UnimplementedError,
}


@contextmanager
def translated(call: CallContext) -> Iterator[None]:
    """Turn gRPC's error into ours: the one boundary."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_status(_status(error), call) from error


def from_status(status: status_pb2.Status, call: CallContext) -> LatentryError:
    """Make the exception of a google.rpc.Status and its details."""
    info = _detail(status, error_details_pb2.ErrorInfo())
    retry = _detail(status, error_details_pb2.RetryInfo())
    request = _detail(status, error_details_pb2.BadRequest())
    return _EXCEPTIONS.get(status.code, ServerError)(
        status.message or code_pb2.Code.Name(status.code),
        call=call,
        reason=info.reason.removeprefix("ERROR_REASON_") if info else None,
        metadata=dict(info.metadata) if info else {},
        field_violations=tuple(FieldViolation(v.field, v.description) for v in request.field_violations)
        if request
        else (),
        retry_delay_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _status(error: grpc.RpcError) -> status_pb2.Status:
    # Both kinds of client raise errors with these methods; grpc's base class declares none of them.
    code, text = error.code(), error.details()
    trailers = cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key == _DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    if code is grpc.StatusCode.INTERNAL and text == _UNSENT:
        return status_pb2.Status(code=code_pb2.UNAVAILABLE, message="the stream ended before all was sent")
    return status_pb2.Status(code=code.value[0], message=text or "")


def _detail(status: status_pb2.Status, empty: MessageT) -> MessageT | None:
    for detail in status.details:
        with suppress(DecodeError):  # a broken detail must not hide the error itself
            if detail.Unpack(empty):
                return empty
    return None
