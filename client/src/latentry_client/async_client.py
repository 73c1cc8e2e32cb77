"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

import grpc.aio
from google.protobuf.message import Message
from latentry.v1.inference_service_pb2 import StreamRequest, StreamResponse

from latentry_client import chunking, requests
from latentry_client.async_merging import AsyncMerger
from latentry_client.base import BaseClient, as_method_of, context, stream_deadline_s
from latentry_client.chunking import ChunkLimits
from latentry_client.exceptions import CallContext, LatentryError, UnavailableError, translated
from latentry_client.request import Request, RowRequest
from latentry_client.results import Model
from latentry_client.streaming import DEFAULT_MAX_IN_FLIGHT, STREAM, Window

P = ParamSpec("P")
R = TypeVar("R")


def _operation(
    build: Callable[P, Request[R]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, R]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.run(build(*args, **kwargs))

    return as_method_of(method, build)


class AsyncClient(BaseClient[grpc.aio.Channel, AsyncMerger]):
    """A connection to a latentry server, for the event loop it is made in.

    Every operation can raise the exceptions of `exceptions`.

        async with AsyncClient("localhost:50051") as client:
            encoding = await client.encode("stacked", images)
    """

    encode = _operation(requests.encode)
    hash = _operation(requests.hash)
    decode = _operation(requests.decode)
    denoise = _operation(requests.denoise)
    reconstruct = _operation(requests.reconstruct)
    sample = _operation(requests.sample)
    interpolate = _operation(requests.interpolate)
    score = _operation(requests.score)
    style_mix = _operation(requests.style_mix)
    classify = _operation(requests.classify)
    get_model = _operation(requests.get_model)
    load_model = _operation(requests.load_model)
    unload_model = _operation(requests.unload_model)
    health = _operation(requests.health)

    async def list_models(self, *, timeout_s: float | None = None) -> list[Model]:
        """List the versions that the server knows, by name, newest first."""
        page = await self.run(requests.list_models(timeout_s=timeout_s))
        models = list(page.models)
        while page.next_page_token:
            page = await self.run(requests.list_models(page.next_page_token, timeout_s=timeout_s))
            models += page.models
        return models

    async def run(self, request: Request[R], *, progress: Callable[[int], None] | None = None) -> R:
        """Run a request of `requests`, in chunks where it is large, a few calls at a time.

        Args:
            request: what to run.
            progress: called after each chunk with the number of its rows.
        """
        merger = self._merger
        if merger is not None and isinstance(request, RowRequest):
            answer = merger.add(request, self._timeout_s_of(request))
            if answer is not None:
                try:
                    result: R = await answer
                except asyncio.CancelledError:
                    merger.forget_cancelled()
                    raise
                if progress:
                    progress(request.rows)
                return result
        return await self._run_alone(request, progress)

    @overload
    def stream(
        self,
        requests: Iterable[Request[R]],
        *,
        max_in_flight: int = ...,
        timeout_s: float | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> AsyncIterator[R]: ...

    @overload
    def stream(
        self,
        requests: Iterable[Request[R]],
        *,
        max_in_flight: int = ...,
        timeout_s: float | None = ...,
        return_exceptions: Literal[True],
    ) -> AsyncIterator[R | LatentryError]: ...

    async def stream(
        self,
        requests: Iterable[Request[R]],
        *,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        return_exceptions: bool = False,
    ) -> AsyncIterator[R | LatentryError]:
        """Run many requests on one stream: as Client.stream."""
        window = Window(requests, max_in_flight=max_in_flight, max_attempts=self._max_attempts)
        async with aclosing(self._responses(window, stream_deadline_s(timeout_s))) as responses:
            async for response in responses:
                window.receive(response)
                for result in window.results():
                    if isinstance(result, LatentryError) and not return_exceptions:
                        raise result
                    yield result

    async def close(self) -> None:
        """Close the connection; calls under way end with an error."""
        if self._merger is not None:
            await self._merger.close()
        await asyncio.gather(*(channel.close() for channel in self._connections.close()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run_alone(self, request: Request[R], progress: Callable[[int], None] | None) -> R:
        first_rows, *later = chunking.plan(request, self._limits)
        first = await self._call(request, first_rows, request.build(first_rows), progress)
        parts = [request.parse(first)]
        pending: deque[asyncio.Task[Any]] = deque()
        try:
            for rows in later:
                if len(pending) == chunking.MAX_CHUNKS_IN_FLIGHT:
                    parts.append(request.parse(await pending.popleft()))
                message = chunking.build_later(request, rows, first)
                pending.append(asyncio.create_task(self._call(request, rows, message, progress)))
            while pending:
                parts.append(request.parse(await pending.popleft()))
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return chunking.join(parts)

    async def _call(
        self, request: Request[Any], rows: slice, message: Message, progress: Callable[[int], None] | None
    ) -> Message:
        response = await self._send(request, rows, message, self._timeout_s_of(request))
        if progress:
            progress(rows.stop - rows.start)
        return response

    async def _send_whole(self, request: RowRequest[Any], timeout_s: float) -> Message:
        rows = slice(0, request.rows)
        return await self._send(request, rows, request.build(rows), timeout_s)

    async def _send(self, request: Request[Any], rows: slice, message: Message, timeout_s: float) -> Message:
        call = context(request, rows)
        with self._ended_by_close(call), translated(call), self._connections.least_busy() as rpcs:
            response: Message = await rpcs[request.rpc](message, **self._call_options(timeout_s))
        return response

    async def _responses(self, window: Window[Any], deadline_s: float) -> AsyncGenerator[StreamResponse, None]:
        """Yield what the server answers: as Client._responses."""
        while True:
            outbox: asyncio.Queue[StreamRequest | None] = asyncio.Queue()
            with self._ended_by_close(STREAM), self._connections.least_busy() as rpcs:
                call = rpcs["Stream"](_until_none(outbox), **self._stream_options(deadline_s))
                try:
                    while True:
                        for message in window.sends():
                            outbox.put_nowait(message)
                        if not window.is_waiting:
                            outbox.put_nowait(None)
                        try:
                            with translated(STREAM):
                                response = await call.read()
                        except UnavailableError as error:
                            pause_s = window.resume(error)
                            break
                        if response is grpc.aio.EOF:
                            window.end()
                            return
                        yield response
                finally:
                    outbox.put_nowait(None)
                    call.cancel()
            await asyncio.sleep(pause_s)

    @contextmanager
    def _ended_by_close(self, call: CallContext) -> Iterator[None]:
        """Raise UnavailableError where the client is closed: gRPC's CancelledError would pass for the caller's own."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._connections.is_closed or task is None or task.cancelling():
                raise
            raise UnavailableError("the client is closed", call=call) from None

    def _open(self) -> grpc.aio.Channel:
        return self._endpoint.open_async()

    def _make_merger(self, limits: ChunkLimits, max_in_flight: int) -> AsyncMerger:
        return AsyncMerger(self._send_whole, limits=limits, max_in_flight=max_in_flight)


async def _until_none(outbox: asyncio.Queue[StreamRequest | None]) -> AsyncIterator[StreamRequest]:
    while (message := await outbox.get()) is not None:
        yield message
