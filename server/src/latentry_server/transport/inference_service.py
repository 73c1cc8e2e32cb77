"""InferenceService: every RPC of it."""
# ruff: noqa: N802 - methods have the RPCs' names

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc.aio
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1.inference_service_pb2_grpc import InferenceServiceServicer

from latentry_server.errors import InvalidInputError
from latentry_server.operations.call import Call, Limits
from latentry_server.repository.models import ModelRepository
from latentry_server.transport import handlers
from latentry_server.transport.client import client_of
from latentry_server.transport.drain import Drain
from latentry_server.transport.statuses import to_status
from latentry_server.transport.stream import RequestStream

Context = grpc.aio.ServicerContext[Any, Any]


class NamesModel(Protocol):
    """What all requests have."""

    model: str
    version: int


Request = TypeVar("Request", bound=NamesModel)
Response = TypeVar("Response")


class InferenceService(InferenceServiceServicer):
    """Runs the graphs of the repository's models."""

    def __init__(self, repository: ModelRepository, *, limits: Limits, drain: Drain, max_stream_requests: int) -> None:
        self._repository = repository
        self._limits = limits
        self._drain = drain
        self._max_stream_requests = max_stream_requests

    def Encode(self, request: messages.EncodeRequest, context: Context) -> Awaitable[messages.EncodeResponse]:
        """Map inputs to their codings."""
        return self._unary(handlers.encode, request, messages.EncodeResponse(), context)

    def Decode(self, request: messages.DecodeRequest, context: Context) -> Awaitable[messages.DecodeResponse]:
        """Map codings to outputs."""
        return self._unary(handlers.decode, request, messages.DecodeResponse(), context)

    def Denoise(self, request: messages.DenoiseRequest, context: Context) -> Awaitable[messages.DenoiseResponse]:
        """Remove the noise from inputs."""
        return self._unary(handlers.denoise, request, messages.DenoiseResponse(), context)

    def Reconstruct(
        self, request: messages.ReconstructRequest, context: Context
    ) -> Awaitable[messages.ReconstructResponse]:
        """Map inputs to their codings and back."""
        return self._unary(handlers.reconstruct, request, messages.ReconstructResponse(), context)

    def Sample(self, request: messages.SampleRequest, context: Context) -> Awaitable[messages.SampleResponse]:
        """Draw new outputs."""
        return self._unary(handlers.sample, request, messages.SampleResponse(), context)

    def Interpolate(
        self, request: messages.InterpolateRequest, context: Context
    ) -> Awaitable[messages.InterpolateResponse]:
        """Decode the way between two rows."""
        return self._unary(handlers.interpolate, request, messages.InterpolateResponse(), context)

    def Score(self, request: messages.ScoreRequest, context: Context) -> Awaitable[messages.ScoreResponse]:
        """Score inputs by how unusual they are."""
        return self._unary(handlers.score, request, messages.ScoreResponse(), context)

    def StyleMix(self, request: messages.StyleMixRequest, context: Context) -> Awaitable[messages.StyleMixResponse]:
        """Combine the styles of two sources, layer by layer."""
        return self._unary(handlers.style_mix, request, messages.StyleMixResponse(), context)

    def Classify(self, request: messages.ClassifyRequest, context: Context) -> Awaitable[messages.ClassifyResponse]:
        """Say how probable each label is."""
        return self._unary(handlers.classify, request, messages.ClassifyResponse(), context)

    async def Stream(  # type: ignore[override]  # the stub knows generators only, not methods that write by themselves
        self, request_iterator: AsyncIterator[messages.StreamRequest], context: Context
    ) -> None:
        """Run any of the above, many at a time."""
        client, deadline_s = client_of(context), read_deadline_s(context)

        def answer(request: messages.StreamRequest) -> Awaitable[messages.StreamResponse]:
            return self._answer(request, client, deadline_s)

        stream = RequestStream(answer, context.write, drain=self._drain, max_in_flight=self._max_stream_requests)
        await stream.run(request_iterator)

    def _unary(
        self,
        handler: Callable[[Call, Request, Response], Awaitable[None]],
        request: Request,
        response: Response,
        context: Context,
    ) -> Awaitable[Response]:
        return self._run(handler, request, response, client_of(context), read_deadline_s(context))

    async def _answer(
        self, request: messages.StreamRequest, client: str, deadline_s: float | None
    ) -> messages.StreamResponse:
        """Answer one request of a stream, its error included."""
        operation = request.WhichOneof("request")
        assert operation is not None
        response = messages.StreamResponse(request_id=request.request_id)
        handler, own = handlers.HANDLERS[operation], getattr(request, operation)
        try:
            await self._run(handler, own, getattr(response, operation), client, deadline_s)
        except Exception as error:  # noqa: BLE001 (statuses logs what nobody expected)
            return messages.StreamResponse(request_id=request.request_id, error=to_status(error))
        return response

    async def _run(
        self,
        handler: Callable[[Call, Request, Response], Awaitable[None]],
        request: Request,
        response: Response,
        client: str,
        deadline_s: float | None,
    ) -> Response:
        """Run a handler on the model that its request names, and return the response, filled."""
        check_name(request.model, request.version)
        with self._repository.lease(request.model, request.version) as model:
            call = Call(model=model, limits=self._limits, client=client, deadline_s=deadline_s)
            await handler(call, request, response)
        return response


def check_name(model: str, version: int) -> None:
    """Check how a request names a model."""
    if not model:
        raise InvalidInputError("model", expected="a model's name", got="nothing")
    if version < 0:
        raise InvalidInputError("version", expected="at least 1, or 0 for the newest", got=str(version))


def read_deadline_s(context: Context) -> float | None:
    """Read the caller's deadline, on time.monotonic()'s clock."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else time.monotonic() + remaining_s
