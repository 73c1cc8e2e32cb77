"""A collector of OTLP traces: a small gRPC server that keeps what it gets."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans, and the names of the services that sent them."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self._lock = threading.Lock()

    def Export(  # noqa: N802
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        with self._lock:
            for sent in request.resource_spans:
                self.services |= {
                    attribute.value.string_value
                    for attribute in sent.resource.attributes
                    if attribute.key == "service.name"
                }
                self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collect() -> Iterator[Collector]:
    """Collect on a free port of this machine."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(grace=None)


def attributes(span: Span) -> dict[str, str | int]:
    """Read a span's attributes, which are words and numbers."""
    return {attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in span.attributes}
