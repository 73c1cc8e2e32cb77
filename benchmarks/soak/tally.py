"""What came of all calls, counted by kind."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable
from typing import Any, Literal

End = Literal["right", "refused", "cancelled", "late", "away"]
"""Refused, cancelled, late, or of a model that is away: where that was asked for."""


class Tally:
    """Counts ends, and lists those that must not be."""

    def __init__(self) -> None:
        self.ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.unexpected: defaultdict[str, list[float]] = defaultdict(list)
        """When what must not be was seen, in seconds."""
        self._began_s = time.monotonic()

    def count(self, kind: str, end: End) -> None:
        """Count a call."""
        self.ends[kind][end] += 1

    def complain(self, kind: str, what: str, *, end: Literal["wrong", "unexpected"] = "unexpected") -> None:
        """Count and list what must not be."""
        self.ends[kind][end] += 1
        self.unexpected[f"{kind}: {what}"].append(round(self.seconds, 1))

    async def watch(self, kind: str, work: Awaitable[Any]) -> None:
        """Wait for work that counts its ends itself, and list its error where it has one."""
        try:
            await work
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            self.complain(kind, "it was cancelled")
        except Exception as error:  # noqa: BLE001 - whatever it is, the soak goes on and says so at its end
            self.complain(kind, f"{type(error).__name__}: {error}")

    @property
    def seconds(self) -> float:
        """How long it has been counting."""
        return time.monotonic() - self._began_s

    @property
    def num_unexpected(self) -> int:
        """How often what must not be was seen."""
        return sum(map(len, self.unexpected.values()))

    @property
    def num_calls(self) -> int:
        """All calls, whatever their ends."""
        return sum(ends.total() for ends in self.ends.values())
