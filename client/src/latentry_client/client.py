"""The client for threads."""

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

import grpc
from google.protobuf.message import Message

from latentry_client import chunking, requests
from latentry_client.base import BaseClient, as_method_of, context, stream_deadline_s
from latentry_client.chunking import ChunkLimits
from latentry_client.exceptions import CallContext, LatentryError, UnavailableError, translated
from latentry_client.request import Request, RowRequest
from latentry_client.results import Model
from latentry_client.streaming import DEFAULT_MAX_IN_FLIGHT, STREAM, Window
from latentry_client.thread_merging import ThreadMerger

if TYPE_CHECKING:
    from latentry.v1.inference_service_pb2 import StreamRequest, StreamResponse

P = ParamSpec("P")
R = TypeVar("R")


def _operation(build: Callable[P, Request[R]]) -> Callable[Concatenate["Client", P], R]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(build(*args, **kwargs))

    return as_method_of(method, build)


class Client(BaseClient[grpc.Channel, ThreadMerger]):
    """A connection to a latentry server; threads can share it.

    Every operation can raise the exceptions of `exceptions`.

        with Client("localhost:50051") as client:
            encoding = client.encode("stacked", images)
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

    def list_models(self, *, timeout_s: float | None = None) -> list[Model]:
        """List the versions that the server knows, by name, newest first."""
        page = self.run(requests.list_models(timeout_s=timeout_s))
        models = list(page.models)
        while page.next_page_token:
            page = self.run(requests.list_models(page.next_page_token, timeout_s=timeout_s))
            models += page.models
        return models

    def run(self, request: Request[R], *, progress: Callable[[int], None] | None = None) -> R:
        """Run a request of `requests`, in chunks where it is large, a few calls at a time.

        Args:
            request: what to run.
            progress: called after each chunk with the number of its rows.
        """
        timeout_s = self._timeout_s_of(request)
        if self._merger is not None and isinstance(request, RowRequest):
            answer = self._merger.add(request, timeout_s)
            if answer is not None:
                result: R = answer()
                if progress:
                    progress(request.rows)
                return result
        return self._run_alone(request, timeout_s, progress)

    @overload
    def stream(
        self,
        requests: Iterable[Request[R]],
        *,
        max_in_flight: int = ...,
        timeout_s: float | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> Iterator[R]: ...

    @overload
    def stream(
        self,
        requests: Iterable[Request[R]],
        *,
        max_in_flight: int = ...,
        timeout_s: float | None = ...,
        return_exceptions: Literal[True],
    ) -> Iterator[R | LatentryError]: ...

    def stream(
        self,
        requests: Iterable[Request[R]],
        *,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        return_exceptions: bool = False,
    ) -> Iterator[R | LatentryError]:
        """Run many requests on one stream: several times the calls per second of single calls.

        Args:
            requests: what to run, from `requests`; taken as there is room. Each is one message: none is split, and
                their own timeout_s is not looked at.
            max_in_flight: how many are under way before the oldest's result is yielded.
            timeout_s: seconds that the whole stream may take; None: for ever.
            return_exceptions: whether a request's error is yielded in its place, or raised, which ends the stream.

        Yields:
            The results in the order of the requests.
        """
        window = Window(requests, max_in_flight=max_in_flight, max_attempts=self._max_attempts)
        with closing(self._responses(window, stream_deadline_s(timeout_s))) as responses:
            for response in responses:
                window.receive(response)
                for result in window.results():
                    if isinstance(result, LatentryError) and not return_exceptions:
                        raise result
                    yield result

    def close(self) -> None:
        """Close the connection; calls under way end with an error."""
        if self._merger is not None:
            self._merger.close()
        for channel in self._connections.close():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run_alone(self, request: Request[R], timeout_s: float, progress: Callable[[int], None] | None) -> R:
        first_rows, *later = chunking.plan(request, self._limits)
        first = self._send(request, first_rows, request.build(first_rows), timeout_s)
        parts = [request.parse(first)]
        if progress:
            progress(first_rows.stop)
        pending: deque[_Sending] = deque()

        def take() -> None:
            sending = pending.popleft()
            parts.append(request.parse(sending.result()))
            if progress:
                progress(sending.rows)

        try:
            for rows in later:
                if len(pending) == chunking.MAX_CHUNKS_IN_FLIGHT:
                    take()
                pending.append(self._start(request, rows, chunking.build_later(request, rows, first), timeout_s))
            while pending:
                take()
        finally:
            for sending in pending:
                sending.cancel()
        return chunking.join(parts)

    def _send(self, request: Request[Any], rows: slice, message: Message, timeout_s: float) -> Message:
        with translated(context(request, rows)), self._connections.least_busy() as rpcs:
            response: Message = rpcs[request.rpc](message, **self._call_options(timeout_s))
        return response

    def _start(self, request: Request[Any], rows: slice, message: Message, timeout_s: float) -> "_Sending":
        with ExitStack() as held:
            rpcs = held.enter_context(self._connections.least_busy())
            call = rpcs[request.rpc].future(message, **self._call_options(timeout_s))
            release = held.pop_all().close
        call.add_done_callback(lambda _call: release())
        return _Sending(call, context(request, rows), rows.stop - rows.start)

    def _responses(self, window: Window[Any], deadline_s: float) -> Generator["StreamResponse", None, None]:
        """Yield what the server answers to a window's requests, on one stream after the other where one breaks off."""
        while True:
            outbox: queue.SimpleQueue[StreamRequest | None] = queue.SimpleQueue()
            with self._connections.least_busy() as rpcs:
                responses = rpcs["Stream"](iter(outbox.get, None), **self._stream_options(deadline_s))
                try:
                    while True:
                        for message in window.sends():
                            outbox.put(message)
                        if not window.is_waiting:
                            outbox.put(None)
                        try:
                            with translated(STREAM):
                                response = next(responses, None)
                        except UnavailableError as error:
                            pause_s = window.resume(error)
                            break
                        if response is None:
                            window.end()
                            return
                        yield response
                finally:
                    outbox.put(None)
                    responses.cancel()
            time.sleep(pause_s)

    def _open(self) -> grpc.Channel:
        return self._endpoint.open()

    def _make_merger(self, limits: ChunkLimits, max_in_flight: int) -> ThreadMerger:
        def send(request: RowRequest[Any], timeout_s: float) -> Message:
            rows = slice(0, request.rows)
            return self._send(request, rows, request.build(rows), timeout_s)

        def start(request: RowRequest[Any], timeout_s: float) -> _Sending:
            rows = slice(0, request.rows)
            return self._start(request, rows, request.build(rows), timeout_s)

        return ThreadMerger(send, start, limits=limits, max_in_flight=max_in_flight)


class _Sending:
    """A call on its way."""

    def __init__(self, call: "grpc.Future[Any]", call_context: CallContext, rows: int) -> None:
        self._call = call
        self._context = call_context
        self.rows = rows

    def result(self) -> Message:
        """Wait for the response."""
        with translated(self._context):
            response: Message = self._call.result()
        return response

    def add_done_callback(self, callback: Callable[["_Sending"], None]) -> None:
        """Have a function called when there is a response or an error."""
        self._call.add_done_callback(lambda _call: callback(self))

    def cancel(self) -> None:
        """Give it up."""
        self._call.cancel()
