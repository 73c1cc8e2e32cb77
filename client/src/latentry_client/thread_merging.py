"""Merging among threads: a call that finds the way free goes in its caller's thread, what gathers goes in gRPC's."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from latentry_client.chunking import ChunkLimits
from latentry_client.exceptions import DeadlineExceededError, UnavailableError
from latentry_client.merging import Batch, Call, Pool, Pools
from latentry_client.request import RowRequest

R = TypeVar("R")

Future = futures.Future[Any]


class Sending(Protocol):
    """A request on its way."""

    def result(self) -> Message:
        """Return the response that has come, or raise the error."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have a function called when either has come."""


class ThreadMerger:
    """Merges the calls of several threads."""

    def __init__(
        self,
        send: Callable[[RowRequest[Any], float], Message],
        start: Callable[[RowRequest[Any], float], Sending],
        *,
        limits: ChunkLimits,
        max_in_flight: int,
    ) -> None:
        """Start without calls.

        Args:
            send: sends a request, with its timeout in seconds, and waits for the response.
            start: likewise, but does not wait.
            limits: the most that one merged request carries.
            max_in_flight: merged requests of one kind that may be on the way.
        """
        self._send = send
        self._start = start
        self._pools: Pools[Future] = Pools(limits, max_in_flight=max_in_flight)
        self._lock = threading.Lock()

    def add(self, request: RowRequest[R], timeout_s: float) -> Callable[[], R] | None:
        """Let a request be sent together with others: None where it is to be sent by itself, as it is large or empty.

        What is returned waits for the caller's own result or error within its own timeout; it must be called.
        """
        call = Call(request, Future(), time.monotonic() + timeout_s)
        with self._lock:
            pool = self._pools.of(request)
            if pool is None:
                return None
            pool.add(call)
            batch = pool.take()
        if batch is not None and batch.calls == [call]:
            return partial(self._lead, pool, batch)
        if batch is not None:  # with others, or half of a failed one
            self._start_batch(pool, batch)
        return partial(self._follow, call)

    def close(self) -> None:
        """End all calls with UnavailableError."""
        with self._lock:
            for call in self._pools.calls():
                _end(call, UnavailableError("the client is closed", call=call.error_context()))

    def _lead(self, pool: Pool[Future], batch: Batch[Future]) -> Any:  # noqa: ANN401 - any operation's result
        """Run a batch of one in its caller's thread, which costs a lone call nothing."""
        try:
            response = self._send(batch.request(), batch.deadline_s - time.monotonic())
            with self._lock:
                (outcome,) = pool.answered(batch, response)
        finally:
            with self._lock:
                pool.finish(batch)
            self._start_waiting(pool)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _follow(self, call: Call[Future]) -> Any:  # noqa: ANN401 - any operation's result
        try:
            with suppress(TimeoutError):
                call.answer.exception(call.deadline_s - time.monotonic())
        finally:
            is_late = call.answer.cancel()
        if is_late:
            raise DeadlineExceededError("no answer in time", call=call.error_context())
        return call.answer.result()

    def _start_waiting(self, pool: Pool[Future]) -> None:
        while True:
            with self._lock:
                batch = pool.take()
                if batch is None:
                    self._pools.tidy(pool)
                    return
            self._start_batch(pool, batch)

    def _start_batch(self, pool: Pool[Future], batch: Batch[Future]) -> None:
        try:
            sending = batch.context.run(self._start, batch.request(), batch.deadline_s - time.monotonic())
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            with self._lock:
                _end_all(batch, pool.failed(batch, error))
        else:
            sending.add_done_callback(partial(self._done, pool, batch))

    def _done(self, pool: Pool[Future], batch: Batch[Future], sending: Sending) -> None:
        try:
            response = sending.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            with self._lock:
                outcomes = pool.failed(batch, error)
        else:
            with self._lock:
                outcomes = pool.answered(batch, response)
        self._start_waiting(pool)  # before the callers go on, so that the server has something to do
        with self._lock:
            _end_all(batch, outcomes)


def _end_all(batch: Batch[Future], outcomes: Sequence[Any]) -> None:
    for call, outcome in zip(batch.calls, outcomes, strict=False):
        _end(call, outcome)


def _end(call: Call[Future], outcome: Any) -> None:  # noqa: ANN401 - any operation's result, or an exception
    if call.answer.done() or not call.answer.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        call.answer.set_exception(outcome)
    else:
        call.answer.set_result(outcome)
