"""Concurrent calls of one operation → one request, and its result → theirs. Pure but for the pool's own state.

A call goes at once where few requests of its kind are in flight. While there are enough of them, calls gather, and the
next request carries all that have: nobody waits while the server is idle, and the busier it is, the more one carries.
"""

import copy
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import fields
from itertools import repeat
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from google.protobuf.message import Message

from latentry_client.chunking import ChunkLimits, rows_per_call
from latentry_client.exceptions import (
    BadResponseError,
    CallContext,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServerError,
)
from latentry_client.request import RowRequest
from latentry_client.tensors import Array

R = TypeVar("R")

MIN_IN_FLIGHT = 1
"""Requests of one kind that may be on the way whatever they carry."""
_WORTHWHILE_US = 1000
"""Computing time that is worth another request on the way: it is more than what the request costs by itself."""
_MAX_IDLE_POOLS = 100
"""Pools that are kept without calls, for what they know of their operation's cost."""


class Answer(Protocol):
    """The part of a future that the pool looks at."""

    def done(self) -> bool:
        """Whether the caller has its answer, or waits no more."""


AnswerT = TypeVar("AnswerT", bound=Answer)


class Call(Generic[AnswerT]):
    """One caller's request and what answers it."""

    __slots__ = ("answer", "context", "deadline_s", "request")

    def __init__(self, request: RowRequest[Any], answer: AnswerT, deadline_s: float) -> None:
        """Hold them; the deadline is on the clock of the pool's owner."""
        self.request = request
        self.answer = answer
        self.deadline_s = deadline_s
        self.context = copy_context()
        """The caller's, with its place in a trace."""

    def error_context(self) -> CallContext:
        """Say which call an error belongs to."""
        return CallContext(self.request.rpc, self.request.model)


class Batch(Generic[AnswerT]):
    """The calls that one merged request carries."""

    __slots__ = ("calls",)

    def __init__(self, calls: list[Call[AnswerT]]) -> None:
        """Hold at least one."""
        self.calls = calls

    @property
    def deadline_s(self) -> float:
        """When the last of the callers stops waiting."""
        return max(call.deadline_s for call in self.calls)

    @property
    def context(self) -> Context:
        """The first caller's, in which the request is sent."""
        return self.calls[0].context

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return all(call.answer.done() for call in self.calls)

    def request(self) -> RowRequest[Any]:
        """Merge the calls' requests."""
        return merge([call.request for call in self.calls])


class Pool(Generic[AnswerT]):
    """The calls of one kind: those that wait, and the batches in flight."""

    def __init__(self, kind: Hashable, *, max_rows: int, max_in_flight: int) -> None:
        """Start empty.

        Args:
            kind: what the calls have in common.
            max_rows: rows of one merged request; no call has more.
            max_in_flight: merged requests that may be on the way.
        """
        self.kind = kind
        self.max_rows = max_rows
        self._in_flight: set[Batch[AnswerT]] = set()
        self._max_in_flight = max_in_flight
        self._worthwhile_rows: int | None = None
        self._waiting: list[Call[AnswerT]] = []
        self._waiting_rows = 0
        self._halves: deque[list[Call[AnswerT]]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not (self._in_flight or self._waiting or self._halves)

    def add(self, call: Call[AnswerT]) -> None:
        """Let a call wait."""
        self._waiting.append(call)
        self._waiting_rows += len(call.request.array)

    def take(self) -> Batch[AnswerT] | None:
        """Put the next batch into flight: None where nothing waits, or as many are in flight as may be."""
        while num_free := self._num_free():
            calls = self._halves.popleft() if self._halves else self._next_calls(num_free)
            if wanted := [call for call in calls if not call.answer.done()]:
                batch = Batch(wanted)
                self._in_flight.add(batch)
                return batch
        return None

    def answered(self, batch: Batch[AnswerT], response: Message) -> Sequence[Any]:
        """Take in a batch's response, and return each call's result; where it cannot be used, as `failed`."""
        try:
            result = batch.calls[0].request.parse(response)
            counts = [len(call.request.array) for call in batch.calls]
            results = [result] if len(counts) == 1 else split(result, counts, batch.calls[0].error_context())
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            return self.failed(batch, error)
        worthwhile_rows = max(1, min(self.max_rows, _WORTHWHILE_US * sum(counts) // max(1, result.run.compute_us)))
        # The most seen is the nearest to what rows cost: batch-mates and a busy machine only add to their time.
        self._worthwhile_rows = max(self._worthwhile_rows or 1, worthwhile_rows)
        self.finish(batch)
        return results

    def failed(self, batch: Batch[AnswerT], error: Exception) -> Sequence[Exception]:
        """Take in a batch's error, and return each call's: none where the batch is tried again in halves.

        The halves go before all other calls, so that the culprit is soon alone.
        """
        self.finish(batch)
        if len(batch.calls) == 1:
            return [error]
        if may_concern_one(error):
            middle = len(batch.calls) // 2
            self._halves += (batch.calls[:middle], batch.calls[middle:])
            return []
        return [_copy(error) for _ in batch.calls]

    def finish(self, batch: Batch[AnswerT]) -> None:
        """Make room for the next batch."""
        self._in_flight.discard(batch)

    def calls(self) -> Iterator[Call[AnswerT]]:
        """Yield all calls, waiting and in flight."""
        yield from self._waiting
        for calls in self._halves:
            yield from calls
        for batch in self._in_flight:
            yield from batch.calls

    def _num_free(self) -> int:
        """Count the requests that may go now: none where nothing waits."""
        if not (self._waiting or self._halves):
            return 0
        worthwhile = self._waiting_rows // (self._worthwhile_rows or self.max_rows)
        wanted = max(MIN_IN_FLIGHT, len(self._in_flight) + worthwhile)
        return min(wanted, self._max_in_flight) - len(self._in_flight)

    def _next_calls(self, num_free: int) -> list[Call[AnswerT]]:
        """Take an equal share of the rows that wait for each request that may go now."""
        max_rows = min(self.max_rows, -(-self._waiting_rows // num_free))
        waiting, rows, count = self._waiting, 0, 0
        for call in waiting:
            rows += len(call.request.array)
            if rows > max_rows and count:
                rows -= len(call.request.array)
                break
            count += 1
        self._waiting, self._waiting_rows = waiting[count:], self._waiting_rows - rows
        return waiting[:count]


class Pools(Generic[AnswerT]):
    """The pool of each kind of calls that there are."""

    def __init__(self, limits: ChunkLimits, *, max_in_flight: int) -> None:
        """Start without calls.

        Args:
            limits: the most that one merged request carries.
            max_in_flight: merged requests of one kind that may be on the way.
        """
        self._limits = limits
        self._max_in_flight = max_in_flight
        self._pools: dict[Hashable, Pool[AnswerT]] = {}

    def of(self, request: RowRequest[Any]) -> Pool[AnswerT] | None:
        """Return the pool that a request belongs to: None where it is to be sent by itself, as it is large or empty."""
        array = request.array
        # What calls must have in common to be merged.
        kind = (request.operation, array.dtype, array.shape[1:], not request.labels)
        pool = self._pools.get(kind)
        if pool is not None:
            return pool if 0 < len(array) <= pool.max_rows else None
        max_rows = rows_per_call(request, self._limits)
        if not 0 < len(array) <= max_rows:
            return None
        pool = self._pools[kind] = Pool(kind, max_rows=max_rows, max_in_flight=self._max_in_flight)
        return pool

    def tidy(self, pool: Pool[AnswerT]) -> None:
        """Forget a pool that has no calls, where there are many."""
        if pool.is_empty and len(self._pools) > _MAX_IDLE_POOLS:
            self._pools.pop(pool.kind, None)

    def calls(self) -> Iterator[Call[AnswerT]]:
        """Yield all calls, waiting and in flight."""
        for pool in self._pools.values():
            yield from pool.calls()


def merge(requests: Sequence[RowRequest[R]]) -> RowRequest[R]:
    """Put requests of one kind end to end."""
    first = requests[0]
    if len(requests) == 1:
        return first
    array = np.concatenate([request.array for request in requests])
    labels = [label for request in requests for label in request.labels] if first.labels else ()
    return RowRequest(first.operation, array, None, labels)


def split(result: R, counts: Sequence[int], call: CallContext) -> list[R]:
    """Undo `merge` for the result: each caller's rows, in memory of their own, and all else as it is.

    Raises:
        BadResponseError: the result has not the request's rows.
    """
    columns: dict[str, Iterable[Any]] = {}
    for field in fields(result):  # type: ignore[arg-type]  # results are dataclasses
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            if len(value) != sum(counts):
                raise BadResponseError(f"{field.name} of {len(value)} rows for {sum(counts)}", call=call)
            columns[field.name] = _split_array(value, counts)
        else:
            columns[field.name] = repeat(value)
    # A third of the time that calling the frozen class for each takes, with the same outcome.
    results = [object.__new__(type(result)) for _ in counts]
    for name, values in columns.items():
        deque(map(getattr(type(result), name).__set__, results, values), maxlen=0)
    return results


def may_concern_one(error: Exception) -> bool:
    """Whether a merged request's error may be the fault of one caller's rows, or of their number."""
    match error:
        case InvalidArgumentError() | ServerError() | BadResponseError():
            return True
        case ResourceExhaustedError() | FailedPreconditionError():
            # The server gives a reason for what concerns all, such as its queue; gRPC gives none for a message that is
            # too large, nor do we for codings that are no bits.
            return error.reason is None
    return False


def _split_array(array: Array, counts: Sequence[int]) -> list[Array]:
    if len(counts) == len(array):
        return [row.copy() for row in array[:, np.newaxis]]
    ends = np.cumsum(counts)[:-1]
    return [part.copy() for part in np.split(array, ends)]


def _copy(error: Exception) -> Exception:
    """Give each caller an exception of its own, for raising one adds to its traceback."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
