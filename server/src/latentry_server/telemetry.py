"""Traces over OTLP. Imported only where they are switched on: it needs the extra `tracing`."""

import os
import time
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# The codes that are the server's fault, by OpenTelemetry's conventions for gRPC.
_SERVER_FAULTS = frozenset(
    code.value[0]
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)


class Telemetry:
    """A `Tracer` that sends its spans to a collector, in a thread of its own.

    What the settings do not say, such as the sampler, is read from the standard `OTEL_*` variables.
    """

    def __init__(self, endpoint: str) -> None:
        """Send to an OTLP/gRPC endpoint: `http://host:4317` in plain text, `https://` over TLS."""
        named = "OTEL_SERVICE_NAME" in os.environ
        self._provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: "latentry-server"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("latentry_server")
        self._propagator = TraceContextTextMapPropagator()

    def start(self, service: str, method: str, *, metadata: Any, peer: str) -> "CallSpan":  # noqa: ANN401
        """Begin a call's span, as a child of the caller's where the metadata has a W3C `traceparent`."""
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "network.peer.address": peer}
        span = self._tracer.start_span(
            f"{service}/{method}",
            context=self._propagator.extract(dict(metadata or ())),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        return CallSpan(self._tracer, span)

    def close(self) -> None:
        """Send what is left. Blocks."""
        self._provider.shutdown()


class CallSpan:
    """A `CallTrace`: the call's span, and two below it for each graph that runs."""

    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span)

    def ran(self, *, model: str, version: int, graph: str, rows: int, queue_s: float, compute_s: float) -> None:
        """Add the spans of the wait and of the run, which has just ended."""
        attributes: dict[str, str | int] = {
            "latentry.model": model,
            "latentry.version": version,
            "latentry.graph": graph,
            "latentry.rows": rows,
        }
        self._span.set_attributes({key: attributes[key] for key in ("latentry.model", "latentry.version")})
        ended_ns = time.time_ns()
        ran_ns = ended_ns - round(compute_s * 1e9)
        queued_ns = ran_ns - round(queue_s * 1e9)
        for name, start_ns, end_ns in (("queue", queued_ns, ran_ns), ("compute", ran_ns, ended_ns)):
            span = self._tracer.start_span(name, self._context, attributes=attributes, start_time=start_ns)
            span.end(end_ns)

    def end(self, code: int, name: str) -> None:
        """End the call's span with its status."""
        self._span.set_attribute("rpc.grpc.status_code", code)
        if code in _SERVER_FAULTS:
            self._span.set_status(Status(StatusCode.ERROR, name))
        self._span.end()
