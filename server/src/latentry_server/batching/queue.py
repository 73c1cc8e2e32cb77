"""The entries that wait for a session: counted in rows and bytes, fair among clients."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from latentry_server.batching.merge import RowType
from latentry_server.batching.room import Room

# How many rows a client may have in a batch before the next client's turn.
TURN_ROWS = 32


class Ran(NamedTuple):
    """What came of a run: outputs [N, ...] by name, the wait for a session, and the run itself."""

    outputs: Mapping[str, NDArray[Any]]
    queue_s: float
    compute_s: float


@dataclass(eq=False, slots=True, kw_only=True)
class Entry:
    """At most one batch's rows of one caller; times are of time.monotonic()'s clock."""

    client: str
    inputs: Mapping[str, NDArray[Any]]
    rows: int
    num_bytes: int
    row_type: RowType
    enqueued_s: float
    deadline_s: float | None
    answer: asyncio.Future[Ran]

    def is_late(self, now_s: float) -> bool:
        """Tell whether the deadline has passed."""
        return self.deadline_s is not None and self.deadline_s <= now_s


@dataclass(slots=True)
class _Flow:
    """What one client has waiting, first in, first out, and the rows that are left of its turn."""

    entries: OrderedDict[Entry, None] = field(default_factory=OrderedDict)
    credit_rows: int = TURN_ROWS


class RowQueue:
    """First in, first out for each client; the clients take turns of as many rows (deficit round-robin).

    Rows are counted by queue; bytes are counted in a room that several queues may share. An entry whose caller is gone
    leaves at once.
    """

    def __init__(self, rows_room: Room, bytes_room: Room) -> None:
        self._rows_room = rows_room
        self._bytes_room = bytes_room
        self._flows: OrderedDict[str, _Flow] = OrderedDict()  # by client, the one whose turn it is first; none is empty

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._flows)

    @property
    def rows(self) -> int:
        """The rows that wait."""
        return self._rows_room.taken

    def rows_before(self, client: str) -> int:
        """Estimate how many rows that wait run before what a client would push now: its own, and the others' turns."""
        turns_rows = self._rows_room.taken_by(client) + TURN_ROWS
        return min(self.rows, turns_rows * (len(self._flows) + (client not in self._flows)))

    def push(self, entry: Entry) -> None:
        """Put an entry at its client's end."""
        flow = self._flows.get(entry.client)
        if flow is None:
            flow = self._flows[entry.client] = _Flow()
        flow.entries[entry] = None
        self._rows_room.take(entry.client, entry.rows)
        self._bytes_room.take(entry.client, entry.num_bytes)

    def discard(self, entry: Entry) -> None:
        """Take an entry out, wherever it is, if it still waits."""
        flow = self._flows.get(entry.client)
        if flow is None or entry not in flow.entries:
            return
        del flow.entries[entry]
        if not flow.entries:
            del self._flows[entry.client]
        self._rows_room.give_back(entry.client, entry.rows)
        self._bytes_room.give_back(entry.client, entry.num_bytes)

    def oldest_s(self) -> float:
        """Tell since when the entry that has waited longest waits."""
        return min(next(iter(flow.entries)).enqueued_s for flow in self._flows.values())

    def take_batch(self, max_rows: int) -> list[Entry]:
        """Take entries of one row type, in the clients' turns, while they fit; at least one."""
        batch: list[Entry] = []
        rows = 0
        while self._flows:
            client, flow = next(iter(self._flows.items()))
            entry = next(iter(flow.entries))
            if entry.rows > flow.credit_rows:
                flow.credit_rows += TURN_ROWS
                self._flows.move_to_end(client)
                continue
            if batch and (rows + entry.rows > max_rows or entry.row_type != batch[0].row_type):
                break
            flow.credit_rows -= entry.rows
            self.discard(entry)
            batch.append(entry)
            rows += entry.rows
        return batch
