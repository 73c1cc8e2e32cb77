"""One operation, ready to be sent: what the clients, streams and merging run. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from latentry.v1.tensor_pb2 import Tensor

from latentry_client import checks, tensors

R_co = TypeVar("R_co", covariant=True)


class Request(ABC, Generic[R_co]):
    """One operation, ready to be sent, whole or in chunks of rows."""

    __slots__ = ()

    @property
    @abstractmethod
    def rpc(self) -> str:
        """Its RPC: Encode, Sample ..."""

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name; empty where the call concerns none."""

    @property
    @abstractmethod
    def timeout_s(self) -> float | None:
        """Seconds that each call may take; None: the client's default."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many rows can be split among calls."""

    @property
    @abstractmethod
    def row_cost(self) -> int:
        """What the server counts a row as: its steps, or its mixes."""

    @property
    @abstractmethod
    def row_bytes(self) -> int:
        """Bytes of a row's arrays on the wire."""

    @property
    @abstractmethod
    def parse(self) -> Callable[[Any], R_co]:
        """What makes the result of the response's message."""

    @property
    @abstractmethod
    def build(self) -> Callable[[slice], Message]:
        """What makes the message of some of the rows."""

    def whole(self) -> Message:
        """Make the message of all rows."""
        return self.build(slice(0, self.rows))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlainRequest(Request[R_co]):
    """A request that says by itself how it is built."""

    rpc: str
    build: Callable[[slice], Message]
    parse: Callable[[Any], R_co]
    model: str = ""
    timeout_s: float | None = None
    rows: int = 1
    row_cost: int = 1
    row_bytes: int = 0

    def __post_init__(self) -> None:
        checks.timeout_s(self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowOperation(Generic[R_co]):
    """What is done to each row by itself: all of a request but the rows. One object for all requests with the same."""

    rpc: str
    model: str
    message: Callable[[Tensor, Sequence[int]], Message]
    """Makes the request's message of the rows and their labels, none where there are none."""
    parse: Callable[[Any], R_co]
    """Makes the result of the response's message."""


class RowRequest(Request[R_co]):
    """Some rows for an operation: it can be merged with others of the same operation, for no row knows of another."""

    # Made for each of a hundred thousand calls a second: no dataclass, and nothing computed that may not be asked for.
    __slots__ = ("array", "labels", "operation", "timeout_s")
    timeout_s: float | None

    def __init__(
        self,
        operation: RowOperation[R_co],
        array: tensors.Array,
        timeout_s: float | None,
        labels: Sequence[int] = (),
    ) -> None:
        """Hold an array [N, ...] and labels, none or N."""
        if timeout_s is not None:
            checks.timeout_s(timeout_s)
        self.operation = operation
        self.array = array
        self.labels = labels
        self.timeout_s = timeout_s

    @property
    def rpc(self) -> str:
        """Its RPC."""
        return self.operation.rpc

    @property
    def model(self) -> str:
        """The model's name."""
        return self.operation.model

    @property
    def rows(self) -> int:
        """N."""
        return len(self.array)

    @property
    def row_cost(self) -> int:
        """One."""
        return 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a row on the wire."""
        return tensors.row_bytes(self.array)

    @property
    def parse(self) -> Callable[[Any], R_co]:
        """The operation's."""
        return self.operation.parse

    def build(self, rows: slice) -> Message:
        """Make the message of some of the rows."""
        return self.operation.message(tensors.to_tensor(self.array[rows]), self.labels[rows])
