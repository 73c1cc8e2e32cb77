"""Stream: many requests at a time on one call, answered as they are ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

import grpc.aio
from latentry.v1 import inference_service_pb2 as messages

from latentry_server.errors import InvalidInputError, LatentryError, ShuttingDownError
from latentry_server.transport.drain import Drain

MAX_REQUEST_ID_CHARS = 128

Request = TypeVar("Request")
Response = TypeVar("Response")


class BoundedStream(Generic[Request, Response]):
    """One call that carries many requests, answered concurrently.

    A request is in flight until its response is written, so a client that stops reading soon has no more requests read,
    and memory stays bounded by `max_in_flight` requests and their responses. `in_order`: responses come in the order of
    the requests, else as they are ready.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Response]],
        write: Callable[[Response], Awaitable[None]],
        *,
        drain: Drain,
        max_in_flight: int,
        in_order: bool = False,
    ) -> None:
        self._answer = answer
        self._write = write
        self._drain = drain
        self._slots = asyncio.Semaphore(max_in_flight)
        self._writing = asyncio.Lock()
        self._in_order = in_order
        self._ended = asyncio.Event()

    async def run(self, requests: AsyncIterator[Request]) -> None:
        """Answer requests until there are no more.

        Raises:
            InvalidInputError: a request cannot be read or is not admitted; those before are answered.
            ShuttingDownError: the server shuts down; what was read is answered.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                # Never cancelled: gRPC may still write into a read that is given up. It ends with the call.
                reading = asyncio.create_task(self._read(requests, tasks))
                reading.add_done_callback(lambda task: task.cancelled() or task.exception())
                draining = tasks.create_task(self._drain.started.wait())
                await asyncio.wait({reading, draining}, return_when=asyncio.FIRST_COMPLETED)
                is_drained = not reading.done()
                self._ended.set()
                draining.cancel()
        finally:
            self._ended.set()
            self._slots.release()  # reading may wait for one
        if is_drained:
            raise ShuttingDownError
        if refused := reading.result():
            raise refused

    def _admit(self, request: Request) -> None:
        """Take a request in flight, or raise InvalidInputError."""

    def _release(self, request: Request) -> None:
        """Let go of a request whose response is about to be written."""

    async def _read(self, requests: AsyncIterator[Request], tasks: asyncio.TaskGroup) -> LatentryError | None:
        """Start answering every request; return why one was refused, None at the end."""
        before: asyncio.Task[None] | None = None
        await self._slots.acquire()
        try:
            async for request in requests:
                if self._ended.is_set():
                    break
                self._admit(request)
                before = tasks.create_task(self._answer_one(request, before if self._in_order else None))
                await self._slots.acquire()
                if self._ended.is_set():
                    break
        except InvalidInputError as error:
            return error
        except grpc.aio.BaseError:  # the call is over, and gRPC cancels it
            return None
        return None

    async def _answer_one(self, request: Request, before: asyncio.Task[None] | None) -> None:
        response = await self._answer(request)
        if before is not None:
            await asyncio.wait({before})
        # Before the client can see the response, so that it may use the id again at once.
        self._release(request)
        async with self._writing:
            with contextlib.suppress(grpc.aio.BaseError):  # the client is gone, and gRPC cancels the call
                await self._write(response)
        self._slots.release()


class RequestStream(BoundedStream[messages.StreamRequest, messages.StreamResponse]):
    """One Stream call of the latentry API: requests have ids that no other request in flight has."""

    def __init__(
        self,
        answer: Callable[[messages.StreamRequest], Awaitable[messages.StreamResponse]],
        write: Callable[[messages.StreamResponse], Awaitable[None]],
        *,
        drain: Drain,
        max_in_flight: int,
    ) -> None:
        super().__init__(answer, write, drain=drain, max_in_flight=max_in_flight)
        self._ids: set[str] = set()

    def _admit(self, request: messages.StreamRequest) -> None:
        if not 1 <= len(request.request_id) <= MAX_REQUEST_ID_CHARS:
            expected = f"1 to {MAX_REQUEST_ID_CHARS} characters"
            raise InvalidInputError("request_id", expected=expected, got=f"{len(request.request_id)} characters")
        if request.request_id in self._ids:
            expected = "an id that no request in flight has"
            raise InvalidInputError("request_id", expected=expected, got=repr(request.request_id))
        if request.WhichOneof("request") is None:
            raise InvalidInputError("request", expected="one operation", got="none")
        self._ids.add(request.request_id)

    def _release(self, request: messages.StreamRequest) -> None:
        self._ids.discard(request.request_id)
