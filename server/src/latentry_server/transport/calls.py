"""What every call goes through: metrics, the token, the drain, and the status of its error."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from latentry_server.errors import InvalidInputError, LatentryError, UnauthenticatedError
from latentry_server.metrics import Metrics
from latentry_server.tallies import Tally
from latentry_server.tracing import CallTrace, Tracer, current_trace
from latentry_server.transport.drain import Drain
from latentry_server.transport.parsing import GrowthCheck
from latentry_server.transport.statuses import abort, to_grpc_status
from latentry_server.transport.tokens import Tokens

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
# Strings, since it is generic in the stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"

Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Labels: TypeAlias = Mapping[str, str]
_BIDI = "bidi_stream"

# Probes have no token; and calls that only look neither hold up a drain nor are refused by it.
_PROBES = (
    "/grpc.health.v1.Health/",
    *(f"/inference.GRPCInferenceService/{what}" for what in ("ServerLive", "ServerReady", "ModelReady")),
)
_SERVED = ("/latentry.v1.", "/inference.GRPCInferenceService/")


@dataclass(frozen=True, slots=True)
class _Method:
    """What is looked up once a method, not once a call."""

    name: str
    labels: Labels
    is_served: bool
    is_stream: bool
    handler: Handler


class CallHandlers(grpc.GenericRpcHandler):
    """The methods of several handlers, each behaviour wrapped.

    In the place of an interceptor, which gRPC's asyncio server awaits anew for each call.
    """

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler],
        metrics: Metrics,
        drain: Drain,
        *,
        tokens: Tokens | None,
        tracer: Tracer | None,
    ) -> None:
        self._handlers = handlers
        self._metrics = metrics
        self._drain = drain
        self._tokens = tokens
        self._tracer = tracer
        self._methods: dict[str, _Method] = {}
        self._refusals: dict[tuple[str, str], Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> MaybeHandler:
        """Find the method's handler, wrapped; unknown methods stay unknown.

        A call that is refused whatever it says ends before its message is read.
        """
        method = self._methods.get(handler_call_details.method) or self._find(handler_call_details)
        if method is None:
            return None
        try:
            if self._tokens is not None:
                self._authenticate(self._tokens, handler_call_details)
            if method.is_served:
                self._drain.check(is_stream=method.is_stream)
        except LatentryError as error:
            return self._refusal(method, error)
        return method.handler

    def _find(self, details: grpc.HandlerCallDetails) -> _Method | None:
        for handlers in self._handlers:
            if (handler := handlers.service(details)) is not None:
                break
        else:
            return None
        name = details.method
        labels = _labels(handler, name)
        is_served, is_stream = _is_served(name), labels["grpc_type"] == _BIDI
        wrapped = self._wrap(handler, name, labels, is_served=is_served, is_stream=is_stream)
        self._methods[name] = _Method(name, labels, is_served, is_stream, wrapped)
        return self._methods[name]

    def _refusal(self, method: _Method, error: LatentryError) -> Handler:
        """Answer any kind of call with an error; made once, since a server that refuses has little time."""
        key = method.name, str(error)
        if key not in self._refusals:
            self._refusals[key] = self._make_refusal(method, error)
        return self._refusals[key]

    def _make_refusal(self, method: _Method, error: LatentryError) -> Handler:
        status = to_grpc_status(error)
        started = self._metrics.grpc_started.labels(**method.labels)
        handled = self._metrics.grpc_handled.labels(**method.labels, grpc_code=status.code.name)
        handling_seconds = self._metrics.grpc_handling_seconds.labels(**method.labels)

        async def refuse(_requests: AsyncIterator[Any], context: Context) -> None:
            started.inc()
            handled.inc()
            handling_seconds.observe(0)
            if method.is_served and (trace := self._trace(method.labels, context)) is not None:
                trace.end(status.code.value[0], status.code.name)
            await context.abort_with_status(status)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _wrap(
        self,
        handler: Any,  # noqa: ANN401 (the stubs hide its fields)
        method: str,
        labels: Labels,
        *,
        is_served: bool,
        is_stream: bool,
    ) -> Handler:
        """Count, time and let in a method's calls, and end those that fail with their error's status."""
        started = self._metrics.grpc_started.labels(**labels)
        received = self._metrics.grpc_msg_received.labels(**labels)
        sent = self._metrics.grpc_msg_sent.labels(**labels)
        handled_well = self._metrics.grpc_handled.labels(**labels, grpc_code=grpc.StatusCode.OK.name)
        handling_seconds = self._metrics.grpc_handling_seconds.labels(**labels)
        drain, is_traced = self._drain, is_served and self._tracer is not None
        behaviour, make = _behaviour(handler, received, sent)

        async def call(request: Any, context: Context) -> Any:  # noqa: ANN401 (a request, or an iterator of some)
            started.inc()
            started_s = time.perf_counter()
            code = grpc.StatusCode.OK
            trace = self._trace(labels, context) if is_traced else None
            is_in = False
            try:
                if is_served:
                    drain.enter(is_stream=is_stream)
                    is_in = True
                return await behaviour(request, context)
            except asyncio.CancelledError:
                late = context.time_remaining() == 0
                code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.AbortError:
                code = context.code()
                raise
            except Exception as error:  # noqa: BLE001 (every error gets a status)
                try:
                    await abort(context, error)
                finally:
                    code = context.code()
            finally:
                if is_in:
                    drain.leave(is_stream=is_stream)
                if code is grpc.StatusCode.OK:
                    handled_well.inc()
                else:
                    self._metrics.grpc_handled.labels(**labels, grpc_code=code.name).inc()
                if trace is not None:
                    trace.end(code.value[0], code.name)
                elapsed_s = time.perf_counter() - started_s
                handling_seconds.observe(elapsed_s)
                if logger.isEnabledFor(logging.DEBUG):  # the peer takes gRPC longer than the rest of the line
                    logger.debug("%s %s %.6f s from %s", method, code.name, elapsed_s, context.peer())

        return make(call, _deserializer(handler, method), handler.response_serializer)

    def _trace(self, labels: Labels, context: Context) -> CallTrace | None:
        if self._tracer is None:
            return None
        service, name = labels["grpc_service"], labels["grpc_method"]
        trace = self._tracer.start(service, name, metadata=context.invocation_metadata(), peer=context.peer())
        current_trace.set(trace)  # for this task, which is the call's own, and those that it makes
        return trace

    def _authenticate(self, tokens: Tokens, details: grpc.HandlerCallDetails) -> None:
        if details.method.startswith(_PROBES):
            return
        if not tokens.accept(str(dict(details.invocation_metadata or ()).get("authorization", ""))):
            raise UnauthenticatedError


def _behaviour(handler: Any, received: Tally, sent: Tally) -> tuple[Behaviour, Callable[..., Handler]]:  # noqa: ANN401
    """Return a handler's behaviour, its messages counted, and what makes a handler of its kind."""

    async def unary_unary(request: Any, context: Context) -> Any:  # noqa: ANN401
        received.inc()
        response = await handler.unary_unary(_readable(request), context)
        sent.inc()
        return response

    async def unary_stream(request: Any, context: Context) -> None:  # noqa: ANN401
        received.inc()
        counted = _Counted(context, sent)
        await _stream(handler.unary_stream(_readable(request), counted), counted)

    async def stream_stream(requests: AsyncIterator[Any], context: Context) -> None:
        counted = _Counted(context, sent)
        await _stream(handler.stream_stream(_count(requests, received), counted), counted)

    if handler.request_streaming:
        return stream_stream, grpc.stream_stream_rpc_method_handler
    if handler.response_streaming:
        return unary_stream, grpc.unary_stream_rpc_method_handler
    return unary_unary, grpc.unary_unary_rpc_method_handler


def _deserializer(handler: Any, method: str) -> Callable[[bytes], Any]:  # noqa: ANN401
    """Return what reads a method's requests, and hands on as the error that it is what cannot be read.

    If it raised, gRPC would end the call as UNKNOWN, or let a stream wait for ever.
    """
    check_growth = GrowthCheck(_request_type(method))

    def deserialize(message: bytes) -> Any:  # noqa: ANN401
        try:
            check_growth(message)
            return handler.request_deserializer(message)
        except InvalidInputError as error:
            return error
        except DecodeError:
            return InvalidInputError("request", expected="a message of the method's type", got="other bytes")

    return deserialize


class _Counted:
    """A servicer context that counts what is written."""

    def __init__(self, context: Context, sent: Tally) -> None:
        self._context = context
        self._sent = sent

    async def write(self, message: Any) -> None:  # noqa: ANN401
        await self._context.write(message)
        self._sent.inc()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._context, name)


async def _count(requests: AsyncIterator[Any], received: Tally) -> AsyncIterator[Any]:
    async for request in requests:
        received.inc()
        yield _readable(request)


def _readable(request: Any) -> Any:  # noqa: ANN401
    if isinstance(request, InvalidInputError):
        raise request
    return request


async def _stream(behaviour: Awaitable[None] | AsyncGenerator[Any, None], context: _Counted) -> None:
    """Run a behaviour that writes its responses by itself, or write those that it yields."""
    if isinstance(behaviour, AsyncGenerator):
        async with aclosing(behaviour):
            async for response in behaviour:
                await context.write(response)
    else:
        await behaviour


def _request_type(method: str) -> Descriptor:
    """Look up what a method takes."""
    service, _, name = method.removeprefix("/").partition("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name].input_type


def _is_served(method: str) -> bool:
    """Tell whether a call is work, which a drain waits for and lets no more of in."""
    return method.startswith(_SERVED) and not method.startswith(_PROBES)


def _labels(handler: Any, method: str) -> Labels:  # noqa: ANN401
    """Name a method as grpc_server_* metrics do."""
    service, _, name = method.removeprefix("/").partition("/")
    kind = "unary" if not handler.response_streaming else _BIDI if handler.request_streaming else "server_stream"
    return {"grpc_type": kind, "grpc_service": service, "grpc_method": name}
