"""The client for threads."""

import queue
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

import grpc

from latentry_client import chunking, requests
from latentry_client.base import BaseClient, as_method_of, context
from latentry_client.exceptions import LatentryError, translated
from latentry_client.requests import Request
from latentry_client.results import Model
from latentry_client.streaming import DEFAULT_MAX_IN_FLIGHT, STREAM, Window

if TYPE_CHECKING:
    from latentry.v1.inference_service_pb2 import StreamRequest

P = ParamSpec("P")
R = TypeVar("R")


def _operation(build: Callable[P, Request[R]]) -> Callable[Concatenate["Client", P], R]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(build(*args, **kwargs))

    return as_method_of(method, build)


class Client(BaseClient[grpc.Channel]):
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
        """Run a request of `requests`, in chunks where it is large, one call after the other.

        Args:
            request: what to run.
            progress: called after each chunk with the number of its rows.
        """
        parts: list[R] = []
        first: Any = None
        for rows in chunking.plan(request, self._limits):
            message = request.build(rows) if first is None else chunking.build_later(request, rows, first)
            with translated(context(request, rows)), self._connections.least_busy() as rpcs:
                response = rpcs[request.rpc](message, **self._call_options(request))
            parts.append(request.parse(response))
            first = first or response
            if progress:
                progress(rows.stop - rows.start)
        return chunking.join(parts)

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
        window = Window(requests, max_in_flight=max_in_flight)
        outbox: queue.SimpleQueue[StreamRequest | None] = queue.SimpleQueue()
        with self._connections.least_busy() as rpcs:
            responses = rpcs["Stream"](iter(outbox.get, None), **self._stream_options(timeout_s))
            try:
                while True:
                    for message in window.sends():
                        outbox.put(message)
                    if not window.is_waiting:
                        outbox.put(None)
                    with translated(STREAM):
                        response = next(responses, None)
                    if response is None:
                        window.end()
                        return
                    window.receive(response)
                    for result in window.results():
                        if isinstance(result, LatentryError) and not return_exceptions:
                            raise result
                        yield result
            finally:
                outbox.put(None)
                responses.cancel()

    def close(self) -> None:
        """Close the connection; calls under way end with an error."""
        for channel in self._connections.close():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> grpc.Channel:
        return self._endpoint.open()
