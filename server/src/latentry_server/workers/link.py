"""Calls between the supervisor and a worker, both ways over one socket, which closes when either process ends."""

import asyncio
import itertools
import logging
import pickle
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from latentry_server.errors import LatentryError, one_line

logger = logging.getLogger(__name__)

Handlers = Mapping[str, Callable[..., Awaitable[Any]]]

_LENGTH_BYTES = 8


class LinkClosedError(ConnectionError):
    """The other process has gone."""


class Link:
    """One end. A call's result, or the LatentryError that its handler raised, comes back to the caller."""

    def __init__(self, handlers: Handlers, *, on_close: Callable[[], None] = lambda: None) -> None:
        """Take what answers the other end's calls, by name, and what is to be done once that end has gone."""
        self._handlers = handlers
        self._on_close = on_close
        self._closed = False
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, end: socket.socket) -> None:
        """Use a connected socket, whose owner the link becomes."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=end)
        self._start(self._serve())

    def close(self) -> None:
        """Let the other end know that this one has gone."""
        self._writer.close()

    async def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 (as the handler returns)
        """Call a handler of the other process.

        Raises:
            LinkClosedError: that process has gone.
            LatentryError: the handler raised it.
            RuntimeError: the handler raised something else.
        """
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(number, name, arguments)
            return await answer
        finally:
            del self._answers[number]

    async def _serve(self) -> None:
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "little")
                # The other end is a process of ours.
                number, name, content = pickle.loads(await self._reader.readexactly(length))  # noqa: S301
                if name is None:
                    self._take_answer(number, *content)
                else:
                    self._start(self._answer(number, name, content))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._closed = True
            self._writer.close()
            self._on_close()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(LinkClosedError("the other process has gone"))

    async def _answer(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        content: tuple[Any, Exception | None]
        try:
            content = (await self._handlers[name](*arguments), None)
        except LatentryError as error:
            content = (None, error)
        except Exception as error:  # its class may be unknown to the other process
            logger.exception("answering %s", name)
            content = (None, RuntimeError(one_line(error)))
        if not self._closed:
            self._send(number, None, content)

    def _take_answer(self, number: int, result: Any, error: Exception | None) -> None:  # noqa: ANN401
        answer = self._answers.get(number)
        if answer is None or answer.done():  # the caller has stopped waiting
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def _send(self, number: int, name: str | None, content: tuple[Any, ...]) -> None:
        if self._closed:
            raise LinkClosedError("the other process has gone")
        message = pickle.dumps((number, name, content))
        self._writer.write(len(message).to_bytes(_LENGTH_BYTES, "little") + message)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
