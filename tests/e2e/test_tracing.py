"""Traces from the application through the SDK and a real server process to a collector."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from latentry_client import AsyncClient, Client, requests
from latentry_client.exceptions import NotFoundError
from latentry_server import app
from latentry_server.errors import StartError
from latentry_server.settings import Settings
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider

from tests.server.bundles import Autoencoder, images
from tests.server.collector import Collector, attributes, collect
from tests.server.command import process

APPLICATION = TracerProvider().get_tracer("application")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    Autoencoder().write(tmp_path)
    return tmp_path


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collect() as collector:
        yield collector


def children_of(collector: Collector, parent_id: bytes) -> list[Span]:
    return sorted(
        (span for span in collector.spans if span.parent_span_id == parent_id),
        key=lambda span: span.start_time_unix_nano,
    )


def test_a_call_is_one_trace_from_the_application_to_the_graphs(repository: Path, collector: Collector) -> None:
    with process(repository=repository, otlp_endpoint=collector.endpoint) as (running, address, _):
        with Client(address, tracing=True) as client, APPLICATION.start_as_current_span("application") as span:
            client.encode("stacked", images(3))
            client.sample("stacked", 2, seed=1)
            with pytest.raises(NotFoundError):
                client.encode("nothing", images(1))
        running.send_signal(signal.SIGTERM)  # what is not sent yet is sent then
        assert running.wait(60) == 0
    own = span.get_span_context()
    assert collector.services == {"latentry-server"}
    assert {each.trace_id for each in collector.spans} == {own.trace_id.to_bytes(16, "big")}
    encode, sample, refused = children_of(collector, own.span_id.to_bytes(8, "big"))
    assert encode.kind == Span.SPAN_KIND_SERVER
    assert encode.name == "latentry.v1.InferenceService/Encode"
    described = attributes(encode)
    assert str(described.pop("network.peer.address")).startswith(("ipv4:", "ipv6:"))
    assert described == {
        "rpc.system": "grpc",
        "rpc.service": "latentry.v1.InferenceService",
        "rpc.method": "Encode",
        "latentry.model": "stacked",
        "latentry.version": 1,
        "rpc.grpc.status_code": 0,
    }
    queue, compute = children_of(collector, encode.span_id)
    assert (queue.name, compute.name) == ("queue", "compute")
    assert attributes(compute) == {
        "latentry.model": "stacked", "latentry.version": 1, "latentry.graph": "encoder", "latentry.rows": 3,
    }  # fmt: skip
    times = [encode.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano]
    assert times == sorted(times)
    assert queue.end_time_unix_nano == compute.start_time_unix_nano
    assert compute.end_time_unix_nano <= encode.end_time_unix_nano
    graphs = [attributes(each)["latentry.graph"] for each in children_of(collector, sample.span_id)]
    assert graphs == ["prior", "prior", "decoder", "decoder"]
    assert attributes(refused)["rpc.grpc.status_code"] == 5
    assert refused.status.code == Status.STATUS_CODE_UNSET, "the caller's error is not the server's"


async def test_requests_of_a_stream_are_below_its_call(repository: Path, collector: Collector) -> None:
    with process(repository=repository, otlp_endpoint=collector.endpoint) as (running, address, _):
        async with AsyncClient(address, tracing=True) as client:
            with APPLICATION.start_as_current_span("application"):
                asked = [requests.encode("stacked", images(rows)) for rows in (1, 2, 3)]
                async for _ in client.stream(asked):
                    pass
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, 60) == 0
    (stream,) = [span for span in collector.spans if span.name.endswith("/Stream")]
    runs = [each for each in children_of(collector, stream.span_id) if each.name == "compute"]
    assert sorted(attributes(each)["latentry.rows"] for each in runs) == [1, 2, 3]


def test_probes_leave_no_trace_and_a_caller_without_one_begins_one(repository: Path, collector: Collector) -> None:
    with process(repository=repository, otlp_endpoint=collector.endpoint) as (running, address, _):
        with Client(address) as client:
            client.health()
            client.encode("stacked", images(1))
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    assert sorted(span.name for span in collector.spans) == ["compute", "latentry.v1.InferenceService/Encode", "queue"]
    (root,) = [span for span in collector.spans if not span.parent_span_id]
    assert root.name == "latentry.v1.InferenceService/Encode"


def test_a_collector_that_is_away_disturbs_nobody(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with process(repository=repository, otlp_endpoint="http://127.0.0.1:1") as (running, address, _):
        with Client(address) as client:
            codings = client.encode("stacked", images(1)).codings
        np.testing.assert_allclose(codings, Autoencoder().encode(images(1)), atol=1e-5)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def test_where_it_is_off_nothing_of_it_is_imported(repository: Path) -> None:
    code = (
        "import sys, asyncio; from latentry_server import app; import latentry_client;"
        "from latentry_server.settings import Settings;"
        "latentry_client.Client().close();"
        "settings = Settings(repository=sys.argv[1], port=0, metrics_port=0, device='cpu')\n"
        "async def serve():\n"
        "    server = app.Server(settings); await server.start(); await server.stop()\n"
        "asyncio.run(serve())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(repository)], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[]"


async def test_without_the_extra_it_is_said_what_to_install(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace.propagation.tracecontext", None)
    monkeypatch.delitem(sys.modules, "latentry_server.telemetry", raising=False)
    settings = Settings(
        repository=str(repository), port=0, metrics_port=0, device="cpu", otlp_endpoint="http://127.0.0.1:1"
    )
    with pytest.raises(StartError, match=r"otlp_endpoint: expected OpenTelemetry, which pip install .*\[tracing\]"):
        app.Server(settings)
    with pytest.raises(ValueError, match=r"tracing: expected OpenTelemetry: pip install .*\[tracing\]"):
        Client(tracing=True)
