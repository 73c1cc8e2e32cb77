"""One graph's batcher: callers' rows wait in a queue, and a run takes as many as fit whenever the session is idle."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from latentry_server.batching import merge
from latentry_server.batching.batch_size import BatchSize
from latentry_server.batching.lane import Lane, Outputs
from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.pace import WATCHDOG, Pace
from latentry_server.batching.queue import Entry, Ran, RowQueue
from latentry_server.batching.room import Room
from latentry_server.batching.statistics import GraphStatistics
from latentry_server.errors import (
    DeadlineExceededError,
    InvalidInputError,
    LatentryError,
    ModelNotReadyError,
    QueueFullError,
    RuntimeFailedError,
    one_line,
)
from latentry_server.metrics import Metrics
from latentry_server.sessions.session import RunOptions, Session
from latentry_server.spec import GraphRole

logger = logging.getLogger(__name__)

# What a caller is told before the first run has shown how fast the session is.
_FIRST_RETRY_S = 0.1
# The event loop takes up to a millisecond to see that a run has ended and to begin the next one.
_MAX_HANDED_OVER_S = 0.02
# Weight of the newest run in the moving average of the time that a run takes.
_NEWEST_RUN_WEIGHT = 0.2


class Batcher:
    """Merges the rows of concurrent callers into runs of one session.

    They run in the session's own thread, but for those that are known to be shorter than the way there and back.

    All methods are called on the event loop. What one caller does (bad rows, cancellation, a passed deadline) never
    reaches another.
    """

    def __init__(
        self, session: Session, *, model: str, version: int, role: GraphRole, limits: BatchingLimits, metrics: Metrics
    ) -> None:
        self._session = session
        self._name = f"{model}/{version}/{role}"
        self._limits = limits
        self._metrics = metrics.of_graph(model=model, version=version, graph=role)
        self.statistics = GraphStatistics()
        self._buckets = merge.bucket_sizes(limits.max_batch_rows) if session.device.kind == "cuda" else ()
        self._rows_room = Room(limits.max_queue_rows)
        self._bytes_room = limits.bytes_room
        self._queue = RowQueue(self._rows_room, self._bytes_room)
        rows_room = self._rows_room  # not self: the metrics of a version stay when it is unloaded
        self._metrics.queue_rows.set_function(lambda: rows_room.taken)
        self._full = asyncio.Event()
        self._size = BatchSize(limits.max_batch_rows)
        self._lane = Lane(self._run_entries, name=self._name, max_run_s=limits.max_run_s)
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None  # a full batch that the thread has beside the one that it runs
        self._pace = Pace()
        self._is_busy = False
        self._ran_this_turn = False
        self._run_s: float | None = None  # how long a run takes, on average of the last ones
        self._closed = False

    async def run(
        self, inputs: Mapping[str, NDArray[Any]], *, client: str = "", deadline_s: float | None = None
    ) -> Ran:
        """Run inputs [N, ...], N at least 1, and return outputs [N, ...].

        Args:
            inputs: the graph's inputs, by name.
            client: whose request it is: clients take turns, and one cannot fill the queue.
            deadline_s: when the caller stops waiting, on time.monotonic()'s clock. Rows that still wait then never run.

        Raises:
            QueueFullError: the queue has no room now, the client has its share of it, or the wait is too long for the
                deadline.
            InvalidInputError: more rows than the queue ever has room for.
            DeadlineExceededError: the deadline has passed, or does so while the rows wait or run.
            RuntimeFailedError: the runtime failed on these rows.
        """
        started_s = time.monotonic()
        try:
            rows = merge.num_rows(inputs)
            self._check(rows)
            ran = self._run_at_once(inputs, rows) if self._may_run_at_once(rows) else None
            if ran is None:
                ran = await self._run_in_turn(inputs, rows, client, deadline_s)
        except LatentryError:
            self.statistics.count_failure(time.monotonic() - started_s)
            raise
        self.statistics.count_request(ran)
        return ran

    async def _run_in_turn(
        self, inputs: Mapping[str, NDArray[Any]], rows: int, client: str, deadline_s: float | None
    ) -> Ran:
        """Let rows wait for the session."""
        self._admit(client, rows, merge.num_bytes(inputs), deadline_s)
        if rows <= self._limits.max_batch_rows:
            entry = self._enqueue(inputs, rows, client, deadline_s)
            try:
                return await entry.answer
            except BaseException:  # the caller is gone, or the run has failed
                self._abandon(entry)
                raise
        chunks = merge.chunks(rows, self._limits.max_batch_rows)
        entries = [
            self._enqueue(merge.take_rows(inputs, chunk), chunk.stop - chunk.start, client, deadline_s)
            for chunk in chunks
        ]
        try:
            answers = [await entry.answer for entry in entries]
        except BaseException:  # the caller is gone or a part has failed: the rest need not run
            for entry in entries:
                self._abandon(entry)
            raise
        return Ran(
            outputs=merge.merge([answer.outputs for answer in answers]),
            queue_s=answers[0].queue_s,
            compute_s=sum(answer.compute_s for answer in answers),
        )

    async def close(self) -> None:
        """Take no more rows, answer those that wait, and end the thread."""
        self._closed = True
        self._full.set()
        while self._is_busy:
            await (self._task or asyncio.sleep(0))
        self._lane.close()

    def _check(self, rows: int) -> None:
        """Refuse what would never run."""
        if self._closed:
            raise ModelNotReadyError(f"{self._name} is unloading")
        if rows > self._limits.max_queue_rows:
            self._metrics.rejected_too_large.inc()
            raise InvalidInputError("rows", expected=f"at most {self._limits.max_queue_rows}", got=str(rows))

    def _admit(self, client: str, rows: int, num_bytes: int, deadline_s: float | None) -> None:
        """Refuse what there is no room or time for now."""
        for room, amount, unit in ((self._rows_room, rows, "rows"), (self._bytes_room, num_bytes, "bytes")):
            # Where nothing waits, what the other limits let through is let in, whatever its bytes.
            if room.taken and amount > room.free:
                self._metrics.rejected_queue_full.inc()
                raise QueueFullError(f"the queue is full ({room.limit} {unit})", retry_after_s=self._retry_after_s())
            if not room.fits_share(client, amount):
                self._metrics.rejected_client_share.inc()
                limit = f"this client's share of the queue ({room.limit} {unit}) is full"
                raise QueueFullError(limit, retry_after_s=self._retry_after_s())

        # Rows that end too late keep those from running that would not. Half of the time is left for what the estimate
        # does not know: runs that take longer, the way back.
        if deadline_s is not None and self._queue:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                self._metrics.rejected_deadline.inc()
                raise DeadlineExceededError
            wait_s = self._time_of(self._queue.rows_before(client))
            if wait_s > left_s / 2:
                self._metrics.rejected_would_be_late.inc()
                limit = f"what waits takes about {wait_s:.3f} s, more than half of the {left_s:.3f} s to the deadline"
                raise QueueFullError(limit, retry_after_s=wait_s - left_s / 2)

    def _retry_after_s(self) -> float:
        return self._time_of(self._queue.rows) or _FIRST_RETRY_S

    def _time_of(self, rows: int) -> float:
        """Estimate how long rows take that run before one more batch: with those under way, and that batch's own."""
        return (self._run_s or 0.0) * (2 + (self._next is not None) + rows / self._size.rows)

    def _enqueue(self, inputs: Mapping[str, NDArray[Any]], rows: int, client: str, deadline_s: float | None) -> Entry:
        loop = asyncio.get_running_loop()
        entry = Entry(
            client=client,
            inputs=inputs,
            rows=rows,
            num_bytes=merge.num_bytes(inputs),
            row_type=merge.row_type(inputs),
            enqueued_s=time.monotonic(),
            deadline_s=deadline_s,
            answer=loop.create_future(),
        )
        self._queue.push(entry)
        if self._queue.rows >= self._size.rows:
            self._full.set()
            self._hand_over()
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._begin)  # once all that arrives in this turn of the loop is in the queue
        return entry

    def _begin(self) -> None:
        """Run what waits: here while it is short, else in the thread."""
        if self._limits.max_delay_ms or not self._pace.is_short(min(self._queue.rows, self._limits.max_batch_rows)):
            self._task = asyncio.get_running_loop().create_task(self._serve(), name=self._name)
            return
        batch = self._take_batch()
        if batch and not self._answer_here(batch):
            self._task = asyncio.get_running_loop().create_task(self._serve(batch), name=self._name)
        elif self._queue:
            asyncio.get_running_loop().call_soon(self._begin)
        else:
            self._is_busy = False

    def _abandon(self, entry: Entry) -> None:
        self._queue.discard(entry)
        if not entry.answer.cancel() and not entry.answer.cancelled():
            entry.answer.exception()  # looked at, so that asyncio does not report it as forgotten
        self._lane.abandon()

    async def _serve(self, first: Sequence[Entry] = ()) -> None:
        """Run batches in the thread until nothing waits; the next batch gathers while one runs."""
        await self._answer(first)
        while self._queue or self._next is not None:
            if self._next is None:
                await self._wait_for_more()
                batch = self._take_batch()
                self._hand_over()
                await self._answer(batch)
            else:
                running, self._next = self._next, None
                self._hand_over()
                await running
        self._task = None
        self._is_busy = False

    def _hand_over(self) -> None:
        """Give the thread a full batch to go on with, so that it need not wait for the event loop between short runs.

        Between long ones that would hardly be noticed, and who comes late would wait for one more of them.
        """
        is_worth_it = self._run_s is not None and self._run_s <= _MAX_HANDED_OVER_S
        if is_worth_it and self._task is not None and self._next is None and self._queue.rows >= self._size.rows:
            self._next = asyncio.create_task(self._answer(self._take_batch()))

    def _take_batch(self) -> list[Entry]:
        return self._drop_late(self._queue.take_batch(self._size.next()))

    async def _wait_for_more(self) -> None:
        if self._closed or not self._limits.max_delay_ms or self._queue.rows >= self._size.rows:
            return
        self._full.clear()
        waited_s = time.monotonic() - self._queue.oldest_s()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._full.wait(), self._limits.max_delay_ms / 1000 - waited_s)

    def _drop_late(self, entries: Sequence[Entry]) -> list[Entry]:
        now_s = time.monotonic()
        for entry in entries:
            if entry.is_late(now_s) and not entry.answer.done():
                self._metrics.rejected_deadline.inc()
                entry.answer.set_exception(DeadlineExceededError())
        return [entry for entry in entries if not entry.answer.done()]

    async def _answer(self, entries: Sequence[Entry]) -> None:
        """Run entries as one batch and answer each; where the run fails, halve the batch until the culprit is alone.

        A run that nobody waits for any more, or that takes too long, is ended.
        """
        if not entries:
            return
        began_s = time.monotonic()
        options = self._session.run_options()
        try:
            outputs, started_s, run_s = await self._lane.run(entries, options)
        except Exception as error:  # noqa: BLE001 - whatever the runtime throws is the affair of these entries alone
            if options.terminate:
                self._fail_ended(entries, time.monotonic() - began_s)
                return
            if len(entries) == 1:
                self._fail(entries[0], one_line(error))
                return
            middle = len(entries) // 2
            for half in (entries[:middle], entries[middle:]):
                if wanted := [entry for entry in half if not entry.answer.done()]:
                    await self._answer(wanted)
            return
        self._pace.observe_in_thread(count_rows(entries), run_s)
        self._give(entries, outputs, started_s=started_s, run_s=run_s)

    def _may_run_at_once(self, rows: int) -> bool:
        """Tell whether to run rows without waiting for others: nothing runs or waits, and no others ran this turn."""
        is_free = not (self._is_busy or self._ran_this_turn or self._limits.max_delay_ms)
        return is_free and rows <= self._limits.max_batch_rows and self._pace.is_short(rows)

    def _run_at_once(self, inputs: Mapping[str, NDArray[Any]], rows: int) -> Ran | None:
        """Run one caller's rows on the event loop; None where that fails."""
        self._ran_this_turn = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        started_s = time.monotonic()
        outputs = self._run_here([inputs], [rows])
        if outputs is None:
            return None
        compute_s = time.monotonic() - started_s
        self._observe(rows, compute_s)
        self._metrics.queue_seconds.observe(0)
        return Ran(outputs[0], 0, compute_s)

    def _end_turn(self) -> None:
        self._ran_this_turn = False

    def _answer_here(self, entries: Sequence[Entry]) -> bool:
        """Run entries on the event loop and answer each; tell whether that went well."""
        started_s = time.monotonic()
        outputs = self._run_here([entry.inputs for entry in entries], [entry.rows for entry in entries])
        if outputs is None:
            return False
        self._give(entries, outputs, started_s=started_s, run_s=time.monotonic() - started_s)
        return True

    def _run_here(self, parts: Sequence[Mapping[str, NDArray[Any]]], row_counts: Sequence[int]) -> list[Outputs] | None:
        """Run parts as one batch on the event loop; None where that fails: the thread finds out whose fault it is."""
        started_s = time.monotonic()
        options = self._session.run_options()
        rows = sum(row_counts)
        try:
            WATCHDOG.begin(options)
            outputs = self._run_merged(parts, row_counts, options)
        except Exception:  # noqa: BLE001 - see above
            self._pace.distrust(rows)
            return None
        finally:
            WATCHDOG.end()
        self._pace.observe_here(rows, time.monotonic() - started_s)
        return outputs

    def _give(self, entries: Sequence[Entry], outputs: Sequence[Outputs], *, started_s: float, run_s: float) -> None:
        self._observe(count_rows(entries), run_s)
        for entry, own in zip(entries, outputs, strict=True):
            self._metrics.queue_seconds.observe(started_s - entry.enqueued_s)
            if not entry.answer.done():
                entry.answer.set_result(Ran(own, started_s - entry.enqueued_s, run_s))

    def _fail_ended(self, entries: Sequence[Entry], ran_s: float) -> None:
        """Fail what a run that was ended leaves unanswered, all at once: each half could take as long again."""
        logger.debug("%s: a run of %d requests was ended after %.3f s", self._name, len(entries), ran_s)
        for entry in self._drop_late(entries):
            self._fail(entry, f"the run took longer than {self._limits.max_run_s:g} s")

    def _fail(self, entry: Entry, reason: str) -> None:
        logger.warning("%s failed on a request of %d rows: %s", self._name, entry.rows, reason)
        if not entry.answer.done():
            entry.answer.set_exception(RuntimeFailedError(f"{self._name} failed: {reason}"))

    def _run_entries(self, entries: Sequence[Entry], options: RunOptions) -> list[Outputs]:
        return self._run_merged([entry.inputs for entry in entries], [entry.rows for entry in entries], options)

    def _run_merged(
        self, parts: Sequence[Mapping[str, NDArray[Any]]], row_counts: Sequence[int], options: RunOptions
    ) -> list[Outputs]:
        padding_rows = merge.padding_rows(sum(row_counts), self._buckets)
        inputs = merge.merge(parts, padding_rows=padding_rows)
        return merge.split(self._session.run(inputs, options), row_counts)

    def _observe(self, rows: int, compute_s: float) -> None:
        last_s = compute_s if self._run_s is None else self._run_s
        self._run_s = last_s + _NEWEST_RUN_WEIGHT * (compute_s - last_s)
        self._size.observe(rows, compute_s)
        self.statistics.count_run(rows)
        self._metrics.batch_rows.observe(rows)
        self._metrics.compute_seconds.observe(compute_s)


def count_rows(entries: Sequence[Entry]) -> int:
    """Count the rows of several entries."""
    return sum(entry.rows for entry in entries)
