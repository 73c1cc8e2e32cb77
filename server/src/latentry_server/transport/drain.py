"""Which calls are let in: no more than the server takes at a time, and none once it shuts down."""

import asyncio

from latentry_server.errors import QueueFullError, ShuttingDownError

# What a caller is told to wait who finds as many calls in flight, or watches open, as there may be.
RETRY_AFTER_S = 0.25


class Drain:
    """Counts the calls in flight, and the streams among them, up to a limit each; once started, lets no new one in."""

    def __init__(self, *, max_calls: int, max_streams: int) -> None:
        self.started = asyncio.Event()
        self._max_calls = max_calls
        self._max_streams = max_streams
        self._in_flight = 0
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def check(self, *, is_stream: bool) -> None:
        """Raise ShuttingDownError once the drain has started, QueueFullError where no more calls are taken now."""
        if self.started.is_set():
            raise ShuttingDownError
        if self._in_flight >= self._max_calls:
            raise QueueFullError(f"{self._in_flight} calls are in flight", retry_after_s=RETRY_AFTER_S)
        if is_stream and self._streams >= self._max_streams:
            raise QueueFullError(f"{self._streams} streams are open", retry_after_s=RETRY_AFTER_S)

    def enter(self, *, is_stream: bool) -> None:
        """Count one call in, where `check` lets it."""
        self.check(is_stream=is_stream)
        self._in_flight += 1
        self._streams += is_stream
        self._idle.clear()

    def leave(self, *, is_stream: bool) -> None:
        """Count out one that was counted in."""
        self._streams -= is_stream
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
