"""The one table from exceptions to gRPC statuses."""

import logging
from collections.abc import Iterator
from typing import Any, Never

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from latentry_server import errors

logger = logging.getLogger(__name__)

DOMAIN = "latentry"

# Exception to code and ErrorReason, the latter as ErrorInfo has it: without the prefix.
_STATUSES = {
    errors.InvalidInputError: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    errors.ModelNotFoundError: (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
    errors.VersionNotFoundError: (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"),
    errors.VersionNotLoadedError: (grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"),
    errors.CapabilityMissingError: (grpc.StatusCode.FAILED_PRECONDITION, "CAPABILITY_MISSING"),
    errors.BundleInvalidError: (grpc.StatusCode.FAILED_PRECONDITION, "BUNDLE_INVALID"),
    errors.QueueFullError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    errors.ModelNotReadyError: (grpc.StatusCode.UNAVAILABLE, "MODEL_NOT_READY"),
    errors.ShuttingDownError: (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    errors.DeadlineExceededError: (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    errors.UnauthenticatedError: (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.RuntimeFailedError: (grpc.StatusCode.INTERNAL, "RUNTIME_FAILED"),
}

# Statuses travel in HTTP/2 trailers, of which clients take 8 KiB; a caller's own words may come back in them.
_MAX_MESSAGE_BYTES = 400
_MAX_NAME_BYTES = 100


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> Never:
    """End a call with an exception's status."""
    await context.abort_with_status(to_grpc_status(error))


def to_grpc_status(error: Exception) -> grpc.Status:
    """Make an exception's status as gRPC takes it, details included."""
    status: grpc.Status = rpc_status.to_status(to_status(error))
    return status


def to_status(error: Exception) -> status_pb2.Status:
    """Make an exception's google.rpc.Status; one that is not in the table is logged, and the caller learns no more."""
    if type(error) not in _STATUSES:
        logger.error("a call failed in a way nobody expected", exc_info=error)
        return status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message="internal error; see the server's log")
    code, reason = _STATUSES[type(error)]
    status = status_pb2.Status(code=code.value[0], message=_short(str(error), _MAX_MESSAGE_BYTES))
    for detail in _details(error, reason):
        status.details.add().Pack(detail)
    return status


def _details(error: Exception, reason: str) -> Iterator[Message]:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    match error:
        case errors.InvalidInputError():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=_short(error.field, _MAX_NAME_BYTES),
                description=_short(f"expected {error.expected}, got {error.got}", _MAX_MESSAGE_BYTES),
                reason=reason,
            )
            yield error_details_pb2.BadRequest(field_violations=[violation])
        case errors.ModelNotFoundError():
            yield _resource("latentry.v1.Model", error.model, error)
        case errors.VersionNotFoundError():
            yield _resource("latentry.v1.Model", f"{error.model}/{error.version}", error)
        case errors.QueueFullError():
            delay = Duration()
            delay.FromNanoseconds(round(error.retry_after_s * 1e9))
            yield error_details_pb2.RetryInfo(retry_delay=delay)
        case errors.CapabilityMissingError():
            info.metadata["operation"] = error.operation
            info.metadata["capabilities"] = ",".join(sorted(error.capabilities))
        case _:
            pass
    yield info


def _resource(kind: str, name: str, error: Exception) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type=kind,
        resource_name=_short(name, _MAX_NAME_BYTES),
        description=_short(str(error), _MAX_NAME_BYTES),
    )


def _short(text: str, max_bytes: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= max_bytes else f"{encoded[:max_bytes].decode(errors='ignore')}..."
