"""The exceptions of all layers; `transport/statuses.py` gives each its gRPC status.

- LatentryError
  - InvalidInputError
  - ModelNotFoundError
  - VersionNotFoundError
    - VersionNotLoadedError
  - CapabilityMissingError
  - BundleInvalidError
  - QueueFullError
  - ModelNotReadyError
  - ShuttingDownError
  - DeadlineExceededError
  - RuntimeFailedError
  - UnauthenticatedError
- StartError, which no caller sees
"""

import copyreg
from typing import Any


class StartError(Exception):
    """The server cannot start; the text says in one line why."""


class LatentryError(Exception):
    """Base of every error that a caller is told about; its text is fit for the caller."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled as calls of their class with their text; ours take other arguments.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidInputError(LatentryError):
    """A field of the request is wrong."""

    def __init__(self, field: str, *, expected: str, got: str) -> None:
        """Name the field by its path in the request (`inputs.shape`), what was expected and what came."""
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.field = field
        self.expected = expected
        self.got = got


class ModelNotFoundError(LatentryError):
    """The server has no such model."""

    def __init__(self, model: str) -> None:
        super().__init__(f"no model {model!r}")
        self.model = model


class VersionNotFoundError(LatentryError):
    """The model has no such version."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(f"model {model!r} has no version {version}")
        self.model = model
        self.version = version


class VersionNotLoadedError(VersionNotFoundError):
    """No such version is loaded, though the repository has it; version 0: none is."""

    def __str__(self) -> str:
        version = f"version {self.version}" if self.version else "any version"
        return f"model {self.model!r} does not have {version} loaded"


class CapabilityMissingError(LatentryError):
    """The model lacks the operation."""

    def __init__(self, model: str, operation: str, capabilities: frozenset[str]) -> None:
        super().__init__(f"model {model!r} lacks {operation}; it has {', '.join(sorted(capabilities))}")
        self.model = model
        self.operation = operation
        self.capabilities = capabilities


class BundleInvalidError(LatentryError):
    """The bundle is broken and was refused; the text says in one line what is wrong."""


class QueueFullError(LatentryError):
    """The queue has no room for the request."""

    def __init__(self, limit: str, *, retry_after_s: float) -> None:
        """Say which limit was reached, and when to try again."""
        super().__init__(f"{limit}; try again in {retry_after_s:.3f} s")
        self.retry_after_s = retry_after_s


class ModelNotReadyError(LatentryError):
    """The model is loading or unloading."""


class ShuttingDownError(LatentryError):
    """The server takes no new requests."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class DeadlineExceededError(LatentryError):
    """The deadline passed before the work was done."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the work was done")


class RuntimeFailedError(LatentryError):
    """The runtime failed on this request's rows."""


class UnauthenticatedError(LatentryError):
    """The call's credentials are missing or wrong."""

    def __init__(self) -> None:
        super().__init__("expected the metadata `authorization: Bearer <token>` with the server's token")


def one_line(error: BaseException) -> str:
    """Say what any exception says in one line of bounded length that every message can carry.

    Others' texts can be long, have many lines, and quote what is no text.
    """
    text = str(error).encode(errors="replace").decode()
    return " ".join(text.split())[:1000] or type(error).__name__
