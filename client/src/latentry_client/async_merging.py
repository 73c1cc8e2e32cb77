"""Merging on an event loop: what a pool gathers is sent by tasks, and answers futures."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message

from latentry_client.chunking import ChunkLimits
from latentry_client.exceptions import DeadlineExceededError, UnavailableError
from latentry_client.merging import Batch, Call, Pool, Pools
from latentry_client.request import RowRequest

R = TypeVar("R")

Future = asyncio.Future[Any]


class AsyncMerger:
    """Merges the calls of one event loop."""

    def __init__(
        self,
        send: Callable[[RowRequest[Any], float], Awaitable[Message]],
        *,
        limits: ChunkLimits,
        max_in_flight: int,
    ) -> None:
        """Start without calls.

        Args:
            send: sends a request, with its timeout in seconds, and returns the response.
            limits: the most that one merged request carries.
            max_in_flight: merged requests of one kind that may be on the way.
        """
        self._send = send
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: Pools[Future] = Pools(limits, max_in_flight=max_in_flight)
        self._to_flush: set[Pool[Future]] = set()
        self._tasks: dict[Batch[Future], asyncio.Task[None]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_s = math.inf

    def add(self, request: RowRequest[R], timeout_s: float) -> Awaitable[R] | None:
        """Let a request be sent together with others: None where it is to be sent by itself, as it is large or empty.

        What is returned ends with the caller's own result or error within its own timeout. Whoever is cancelled while
        waiting for it calls `forget_cancelled`.

        Raises:
            RuntimeError: it is called from another event loop than before.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        pool = self._pools.of(request)
        if pool is None:
            return None
        answer: asyncio.Future[R] = loop.create_future()
        deadline_s = loop.time() + timeout_s
        call = Call(request, answer, deadline_s)
        is_first = pool.is_empty
        pool.add(call)
        if deadline_s < self._alarm_s:
            self._set_alarm(loop, deadline_s)
        if pool in self._to_flush:  # all calls of one turn of the loop are sent together
            return answer
        self._to_flush.add(pool)
        if is_first:
            return self._lead(pool, call, timeout_s)
        loop.call_soon(self._flush, pool)
        return answer

    def forget_cancelled(self) -> None:
        """Cancel what nobody waits for any more."""
        for batch, task in self._tasks.items():
            if batch.is_abandoned:
                task.cancel()

    async def close(self) -> None:
        """End all calls with UnavailableError."""
        if self._alarm is not None:
            self._alarm.cancel()
        for call in self._pools.calls():
            if not call.answer.done():
                call.answer.set_exception(UnavailableError("the client is closed", call=call.error_context()))
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise RuntimeError("AsyncClient: expected all calls from one event loop, got a call from another one")
        self._loop = loop

    async def _lead(self, pool: Pool[Future], call: Call[Future], timeout_s: float) -> Any:  # noqa: ANN401 - any result
        """Run the first call of all: without a task and its switches where it has stayed alone."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            call.answer.cancel()
            self._flush(pool)
            raise
        batch = pool.take()
        if batch is None or batch.calls != [call]:
            if batch is not None:
                self._start(pool, batch)
            self._flush(pool)
            return await call.answer
        self._flush(pool)
        call.answer.cancel()  # nobody waits for it
        try:
            (outcome,) = pool.answered(batch, await self._send(batch.request(), timeout_s))
        finally:
            pool.finish(batch)
            self._flush(pool)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _flush(self, pool: Pool[Future]) -> None:
        self._to_flush.discard(pool)
        while batch := pool.take():
            self._start(pool, batch)
        self._pools.tidy(pool)

    def _start(self, pool: Pool[Future], batch: Batch[Future]) -> None:
        task = self._tasks[batch] = asyncio.create_task(self._run(pool, batch), context=batch.context)
        task.add_done_callback(partial(self._finish, pool, batch))

    async def _run(self, pool: Pool[Future], batch: Batch[Future]) -> None:
        outcomes: Sequence[Any]
        try:
            timeout_s = batch.deadline_s - asyncio.get_running_loop().time()
            response = await self._send(batch.request(), timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
            outcomes = pool.failed(batch, error)
        else:
            outcomes = pool.answered(batch, response)
        self._flush(pool)  # before the callers go on, so that the server has something to do
        for call, outcome in zip(batch.calls, outcomes, strict=False):
            if call.answer.done():
                continue
            if isinstance(outcome, Exception):
                call.answer.set_exception(outcome)
            else:
                call.answer.set_result(outcome)

    def _finish(self, pool: Pool[Future], batch: Batch[Future], task: asyncio.Task[None]) -> None:
        del self._tasks[batch]
        if task.cancelled():  # perhaps before its first step
            pool.finish(batch)
            for call in batch.calls:
                call.answer.cancel()
            self._flush(pool)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, deadline_s: float) -> None:
        """Look for late calls at the earliest deadline: one timer, rather than one for each call."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_s = deadline_s
        self._alarm = loop.call_at(deadline_s, self._end_late, loop)

    def _end_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s, self._alarm, self._alarm_s = loop.time(), None, math.inf
        for call in self._pools.calls():
            if call.answer.done():
                continue
            if call.deadline_s <= now_s:
                call.answer.set_exception(DeadlineExceededError("no answer in time", call=call.error_context()))
            else:
                self._alarm_s = min(self._alarm_s, call.deadline_s)
        self.forget_cancelled()
        if self._alarm_s < math.inf:
            self._alarm = loop.call_at(self._alarm_s, self._end_late, loop)
