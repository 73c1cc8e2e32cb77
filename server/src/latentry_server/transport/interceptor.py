"""What every call goes through: metrics, the token, the drain, and the status of its error."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from latentry_server.errors import InvalidInputError, LatentryError, UnauthenticatedError
from latentry_server.metrics import Metrics
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

Behaviour: TypeAlias = Callable[[], Awaitable[Any]]
Labels: TypeAlias = tuple[str, str, str]
"""Type, service and method."""
_BIDI = "bidi_stream"

# Probes have no token; and calls that only look neither hold up a drain nor are refused by it.
_PROBES = (
    "/grpc.health.v1.Health/",
    *(f"/inference.GRPCInferenceService/{what}" for what in ("ServerLive", "ServerReady", "ModelReady")),
)
_SERVED = ("/latentry.v1.", "/inference.GRPCInferenceService/")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the behaviour of every method, once."""

    def __init__(self, metrics: Metrics, drain: Drain, *, tokens: Tokens | None, tracer: Tracer | None) -> None:
        self._metrics = metrics
        self._drain = drain
        self._tokens = tokens
        self._tracer = tracer
        self._wrapped: dict[str, tuple[Handler, Labels, bool]] = {}
        self._refusals: dict[tuple[str, str], Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MaybeHandler:
        """Find the method's handler, wrapped; unknown methods stay unknown.

        A call that is refused whatever it says ends before its message is read.
        """
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            labels = _labels(handler, method)
            self._wrapped[method] = self._wrap(handler, method, labels), labels, _is_served(method)
        wrapped, labels, is_served = self._wrapped[method]
        try:
            self._authenticate(method, handler_call_details.invocation_metadata)
            if is_served:
                self._drain.check(is_stream=labels[0] == _BIDI)
        except LatentryError as error:
            return self._refusal(method, labels, error)
        return wrapped

    def _refusal(self, method: str, labels: Labels, error: LatentryError) -> Handler:
        """Answer any kind of call with an error; made once, since a server that refuses has little time."""
        key = method, str(error)
        if key not in self._refusals:
            self._refusals[key] = self._make_refusal(method, labels, error)
        return self._refusals[key]

    def _make_refusal(self, method: str, labels: Labels, error: LatentryError) -> Handler:
        status = to_grpc_status(error)
        started = self._metrics.grpc_started.labels(*labels)
        handled = self._metrics.grpc_handled.labels(*labels, status.code.name)
        handling_seconds = self._metrics.grpc_handling_seconds.labels(*labels)

        async def refuse(_requests: AsyncIterator[Any], context: Context) -> None:
            started.inc()
            handled.inc()
            handling_seconds.observe(0)
            if _is_served(method) and (trace := self._trace(labels, context)) is not None:
                trace.end(status.code.value[0], status.code.name)
            await context.abort_with_status(status)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _wrap(self, handler: Any, method: str, labels: Labels) -> Handler:  # noqa: ANN401 (the stubs hide its fields)
        """Run the handler's behaviour inside `_call`, its messages counted."""
        received = self._metrics.grpc_msg_received.labels(*labels)
        sent = self._metrics.grpc_msg_sent.labels(*labels)
        call = self._caller(method, labels)

        check_growth = GrowthCheck(_request_type(method))

        def deserialize(message: bytes) -> Any:  # noqa: ANN401
            # Handed on as the error that it is: gRPC would end the call as UNKNOWN, or let a stream wait for ever.
            try:
                check_growth(message)
                return handler.request_deserializer(message)
            except InvalidInputError as error:
                return error
            except DecodeError:
                return InvalidInputError("request", expected="a message of the method's type", got="other bytes")

        async def unary_unary(request: Any, context: Context) -> Any:  # noqa: ANN401
            received.inc()
            response = await call(lambda: handler.unary_unary(_readable(request), context), context)
            sent.inc()
            return response

        async def unary_stream(request: Any, context: Context) -> None:  # noqa: ANN401
            received.inc()
            counted = _Counted(context, sent)
            await call(lambda: _stream(handler.unary_stream(_readable(request), counted), counted), context)

        async def stream_stream(requests: AsyncIterator[Any], context: Context) -> None:
            counted = _Counted(context, sent)
            await call(lambda: _stream(handler.stream_stream(_count(requests, received), counted), counted), context)

        make, behaviour = {
            (False, False): (grpc.unary_unary_rpc_method_handler, unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, unary_stream),
            (True, True): (grpc.stream_stream_rpc_method_handler, stream_stream),
        }[handler.request_streaming, handler.response_streaming]
        return make(behaviour, deserialize, handler.response_serializer)

    def _caller(self, method: str, labels: Labels) -> Callable[[Behaviour, Context], Awaitable[Any]]:
        """Return what lets a call of a method in, times it, and ends it with its error's status.

        What it needs is looked up once a method, not once a call.
        """
        started = self._metrics.grpc_started.labels(*labels)
        handled_well = self._metrics.grpc_handled.labels(*labels, grpc.StatusCode.OK.name)
        handling_seconds = self._metrics.grpc_handling_seconds.labels(*labels)
        is_served, is_stream = _is_served(method), labels[0] == _BIDI

        async def call(behaviour: Behaviour, context: Context) -> Any:  # noqa: ANN401
            started.inc()
            started_s = time.perf_counter()
            code = grpc.StatusCode.OK
            trace = self._trace(labels, context) if is_served else None
            try:
                if not is_served:
                    return await behaviour()
                with self._drain.call(is_stream=is_stream):
                    return await behaviour()
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
                if code is grpc.StatusCode.OK:
                    handled_well.inc()
                else:
                    self._metrics.grpc_handled.labels(*labels, code.name).inc()
                if trace is not None:
                    trace.end(code.value[0], code.name)
                elapsed_s = time.perf_counter() - started_s
                handling_seconds.observe(elapsed_s)
                if logger.isEnabledFor(logging.DEBUG):  # the peer takes gRPC longer than the rest of the line
                    logger.debug("%s %s %.6f s from %s", method, code.name, elapsed_s, context.peer())

        return call

    def _trace(self, labels: Labels, context: Context) -> CallTrace | None:
        if self._tracer is None:
            return None
        _, service, name = labels
        trace = self._tracer.start(service, name, metadata=context.invocation_metadata(), peer=context.peer())
        current_trace.set(trace)  # for this task, which is the call's own, and those that it makes
        return trace

    def _authenticate(self, method: str, metadata: Any) -> None:  # noqa: ANN401
        if self._tokens is None or method.startswith(_PROBES):
            return
        if not self._tokens.accept(str(dict(metadata or ()).get("authorization", ""))):
            raise UnauthenticatedError


class _Counted:
    """A servicer context that counts what is written."""

    def __init__(self, context: Context, sent: Counter) -> None:
        self._context = context
        self._sent = sent

    async def write(self, message: Any) -> None:  # noqa: ANN401
        await self._context.write(message)
        self._sent.inc()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._context, name)


async def _count(requests: AsyncIterator[Any], received: Counter) -> AsyncIterator[Any]:
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
    """Name a method as grpc_server_* metrics do: type, service, method."""
    service, _, name = method.removeprefix("/").partition("/")
    if not handler.response_streaming:
        return "unary", service, name
    return _BIDI if handler.request_streaming else "server_stream", service, name
