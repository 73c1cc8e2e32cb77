"""Stream: many requests at a time on one call, answered as they are ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import grpc.aio
from latentry.v1 import inference_service_pb2 as messages

from latentry_server.errors import InvalidInputError, LatentryError, ShuttingDownError
from latentry_server.transport.drain import Drain

MAX_REQUEST_ID_CHARS = 128

# What is read: a request, why there will be no more, or None at the end.
Incoming: TypeAlias = "asyncio.Queue[messages.StreamRequest | InvalidInputError | None]"


class RequestStream:
    """One Stream call.

    A request is in flight until its response is written, so a client that stops reading soon has no more requests read,
    and memory stays bounded by `max_in_flight` requests and their responses.
    """

    def __init__(
        self,
        answer: Callable[[messages.StreamRequest], Awaitable[messages.StreamResponse]],
        write: Callable[[messages.StreamResponse], Awaitable[None]],
        *,
        drain: Drain,
        max_in_flight: int,
    ) -> None:
        self._answer = answer
        self._write = write
        self._drain = drain
        self._slots = asyncio.Semaphore(max_in_flight)
        self._writing = asyncio.Lock()
        self._ids: set[str] = set()
        self._ended = False

    async def run(self, requests: AsyncIterator[messages.StreamRequest]) -> None:
        """Answer requests until there are no more.

        Raises:
            InvalidInputError: a request cannot be read, has no id or operation, or an id that is in use; those before
                are answered.
            ShuttingDownError: the server shuts down; what was read is answered.
        """
        incoming: Incoming = asyncio.Queue(maxsize=1)
        # Never cancelled: gRPC may still write into a read that is given up. It ends with the call.
        reading = asyncio.create_task(self._read(requests, incoming))
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.TaskGroup() as tasks:
                dispatching = tasks.create_task(self._dispatch(incoming, tasks))
                draining = tasks.create_task(self._drain.started.wait())
                await asyncio.wait({dispatching, draining}, return_when=asyncio.FIRST_COMPLETED)
                dispatching.cancel()
                draining.cancel()
        finally:
            self._ended = True
            while not incoming.empty():  # reading may wait for room
                incoming.get_nowait()
        if dispatching.cancelled():
            raise ShuttingDownError
        if refused := dispatching.result():
            raise refused

    async def _read(self, requests: AsyncIterator[messages.StreamRequest], incoming: Incoming) -> None:
        try:
            async for request in requests:
                if self._ended:
                    return
                await incoming.put(request)
        except InvalidInputError as error:
            await incoming.put(error)
        else:
            await incoming.put(None)

    async def _dispatch(self, incoming: Incoming, tasks: asyncio.TaskGroup) -> LatentryError | None:
        """Start answering every request; return why one was refused, None at the end."""
        while True:
            await self._slots.acquire()
            request = await incoming.get()
            if request is None or isinstance(request, InvalidInputError):
                return request
            try:
                self._check(request)
            except InvalidInputError as error:
                return error
            self._ids.add(request.request_id)
            tasks.create_task(self._answer_one(request))

    def _check(self, request: messages.StreamRequest) -> None:
        if not 1 <= len(request.request_id) <= MAX_REQUEST_ID_CHARS:
            expected = f"1 to {MAX_REQUEST_ID_CHARS} characters"
            raise InvalidInputError("request_id", expected=expected, got=f"{len(request.request_id)} characters")
        if request.request_id in self._ids:
            expected = "an id that no request in flight has"
            raise InvalidInputError("request_id", expected=expected, got=repr(request.request_id))
        if request.WhichOneof("request") is None:
            raise InvalidInputError("request", expected="one operation", got="none")

    async def _answer_one(self, request: messages.StreamRequest) -> None:
        response = await self._answer(request)
        # Free before the client can see the response, so that it may use the id again at once.
        self._ids.discard(request.request_id)
        async with self._writing:
            with contextlib.suppress(grpc.aio.BaseError):  # the client is gone, and gRPC cancels the call
                await self._write(response)
        self._slots.release()
