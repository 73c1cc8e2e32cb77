"""The book-keeping of a stream, without I/O: what is to be sent, and whose result came. Pure but for its own state."""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from latentry.v1 import inference_service_pb2 as pb

from latentry_client.channel import FIRST_PAUSE_S, LONGEST_PAUSE_S
from latentry_client.exceptions import BadResponseError, CallContext, LatentryError, UnavailableError, from_status
from latentry_client.request import Request

R = TypeVar("R")

STREAM = CallContext("Stream")
DEFAULT_MAX_IN_FLIGHT = 64

_FIELDS = {
    "Encode": "encode",
    "Decode": "decode",
    "Denoise": "denoise",
    "Reconstruct": "reconstruct",
    "Sample": "sample",
    "Interpolate": "interpolate",
    "Score": "score",
    "StyleMix": "style_mix",
    "Classify": "classify",
}


class Window(Generic[R]):
    """The requests that are sent and not yet yielded, at most max_in_flight; results leave in the requests' order.

    A stream that breaks off is followed by another one: every operation may run twice.
    """

    def __init__(self, requests: Iterable[Request[R]], *, max_in_flight: int, max_attempts: int) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight: expected at least 1, got {max_in_flight}")
        self._requests = enumerate(requests)
        self._max_in_flight = max_in_flight
        self._max_attempts = max_attempts
        self._num_failures = 0
        self._unsent: deque[str] = deque()
        self._waiting: dict[str, Request[R]] = {}
        self._arrived: dict[str, R | LatentryError] = {}
        self._num_taken = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a response is still to come."""
        return bool(self._waiting)

    def sends(self) -> Iterator[pb.StreamRequest]:
        """Yield the messages that there is room for."""
        while self._unsent:
            yield self._message(self._unsent.popleft())
        while len(self._waiting) + len(self._arrived) < self._max_in_flight:
            index, request = next(self._requests, (0, None))
            if request is None:
                return
            if request.rpc not in _FIELDS:
                raise ValueError(f"requests: expected one of {', '.join(_FIELDS)}, got {request.rpc}")
            self._waiting[str(index)] = request
            yield self._message(str(index))

    def receive(self, response: pb.StreamResponse) -> None:
        """Take in a response.

        Raises:
            BadResponseError: it answers no request that was waiting, or with another operation's result.
        """
        request = self._waiting.pop(response.request_id, None)
        if request is None:
            raise BadResponseError(f"a result for unknown request id {response.request_id!r}", call=STREAM)
        self._num_failures = 0
        kind = response.WhichOneof("response")
        if kind == "error":
            self._arrived[response.request_id] = from_status(response.error, CallContext(request.rpc, request.model))
        elif kind == _FIELDS[request.rpc]:
            self._arrived[response.request_id] = _parsed(request, getattr(response, kind))
        else:
            raise BadResponseError(f"a result of {kind} for a request of {request.rpc}", call=STREAM)

    def results(self) -> Iterator[R | LatentryError]:
        """Yield what is next in order and has arrived."""
        while (key := str(self._num_taken)) in self._arrived:
            self._num_taken += 1
            yield self._arrived.pop(key)

    def resume(self, error: UnavailableError) -> float:
        """Have what waits sent again, on another stream, and return the seconds to pause before.

        Raises:
            UnavailableError: the error, where no answer came between as many of them as there may be attempts.
        """
        self._num_failures += 1
        if self._num_failures == self._max_attempts:
            raise error
        self._unsent = deque(self._waiting)
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (self._num_failures - 1), LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.8, 1.2)  # so that not all clients come back at once

    def end(self) -> None:
        """Take in that the server ended the stream.

        Raises:
            BadResponseError: requests were still waiting.
        """
        if self._waiting:
            raise BadResponseError(f"the stream ended with {len(self._waiting)} requests unanswered", call=STREAM)

    def _message(self, request_id: str) -> pb.StreamRequest:
        request = self._waiting[request_id]
        operation: dict[str, Any] = {_FIELDS[request.rpc]: request.whole()}
        return pb.StreamRequest(request_id=request_id, **operation)


def _parsed(request: Request[R], response: Message) -> R | LatentryError:
    try:
        return request.parse(response)
    except LatentryError as error:
        return error
