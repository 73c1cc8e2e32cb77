"""What shutting down means to calls: new ones are refused, those in flight are answered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from latentry_server.errors import ShuttingDownError


class Drain:
    """Counts the calls in flight; once started, lets no new one in."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count one call; ShuttingDownError once the drain has started."""
        if self.started.is_set():
            raise ShuttingDownError
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    def start(self) -> None:
        """Let no new call in."""
        self.started.set()

    async def wait(self, *, timeout_s: float) -> int:
        """Wait until every call is answered or the time is over, and count those that are not."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return self._in_flight
        return 0
