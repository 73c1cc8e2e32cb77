"""The entries that wait for a session, counted in rows."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from latentry_server.batching.merge import RowType


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: outputs [N, ...] by name, the wait for a session, and the run itself."""

    outputs: dict[str, NDArray[Any]]
    queue_s: float
    compute_s: float


@dataclass(eq=False, slots=True, kw_only=True)
class Entry:
    """At most one batch's rows of one caller; times are of time.monotonic()'s clock."""

    inputs: Mapping[str, NDArray[Any]]
    rows: int
    row_type: RowType
    enqueued_s: float
    deadline_s: float | None
    answer: asyncio.Future[Ran]

    def is_late(self, now_s: float) -> bool:
        """Tell whether the deadline has passed."""
        return self.deadline_s is not None and self.deadline_s <= now_s


class RowQueue:
    """First in, first out; an entry whose caller is gone leaves at once."""

    def __init__(self) -> None:
        self.rows = 0
        self._entries: OrderedDict[Entry, None] = OrderedDict()

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._entries)

    def push(self, entry: Entry) -> None:
        """Put an entry at the end."""
        self._entries[entry] = None
        self.rows += entry.rows

    def discard(self, entry: Entry) -> None:
        """Take an entry out, wherever it is, if it still waits."""
        if entry in self._entries:
            del self._entries[entry]
            self.rows -= entry.rows

    def first(self) -> Entry:
        """Look at the entry that has waited longest."""
        return next(iter(self._entries))

    def take_batch(self, max_rows: int) -> list[Entry]:
        """Take entries of one row type from the front, in order, while they fit; at least one."""
        batch: list[Entry] = []
        rows = 0
        while self._entries:
            entry = self.first()
            if batch and (rows + entry.rows > max_rows or entry.row_type != batch[0].row_type):
                break
            self.discard(entry)
            batch.append(entry)
            rows += entry.rows
        return batch
