"""Several connections to one server: its worker processes share a port, and each connection is one worker's."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from latentry_client.channel import bind

ChannelT = TypeVar("ChannelT", bound=grpc.Channel | grpc.aio.Channel)

DEFAULT_MAX_CONNECTIONS = 8
"""Which worker gets a connection is chance: of two workers, eight connections miss one in 1 of 128 times."""


class Connections(Generic[ChannelT]):
    """Opens a connection only while all that are open have calls in flight: one call at a time needs one.

    Threads can share it.
    """

    def __init__(self, open_channel: Callable[[], ChannelT], *, max_connections: int) -> None:
        if max_connections < 1:
            raise ValueError(f"max_connections: expected at least 1, got {max_connections}")
        self._open_channel = open_channel
        self._max_connections = max_connections
        self._open: list[_Connection[ChannelT]] = []
        self._closed = False
        # Reentrant, since the garbage collector may end a stream that nobody reads in the middle of another call.
        self._lock = threading.RLock()

    @property
    def is_closed(self) -> bool:
        """Whether no calls are made any more, and those under way end."""
        return self._closed

    @contextmanager
    def least_busy(self) -> Iterator[Mapping[str, Any]]:
        """Hold the connection with the fewest calls in flight for one call, as what calls each RPC on it.

        A slow worker's connections come to have more calls in flight, so that new ones go to the others.
        """
        connection = self._take()
        try:
            yield connection.rpcs
        finally:
            with self._lock:
                connection.num_calls -= 1

    def close(self) -> list[ChannelT]:
        """Open no more, and return the channels that are to be closed."""
        with self._lock:
            self._closed = True
            return [connection.channel for connection in self._open]

    def _take(self) -> "_Connection[ChannelT]":
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            connection = min(self._open, key=lambda connection: connection.num_calls, default=None)
            if connection is None or (connection.num_calls and len(self._open) < self._max_connections):
                connection = _Connection(self._open_channel())
                self._open.append(connection)
            connection.num_calls += 1
            return connection


class _Connection(Generic[ChannelT]):
    def __init__(self, channel: ChannelT) -> None:
        self.channel = channel
        self.rpcs = bind(channel)
        self.num_calls = 0
