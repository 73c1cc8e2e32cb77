import subprocess
import sys
from pathlib import Path

from latentry_server.metrics import Metrics
from prometheus_client import CollectorRegistry, generate_latest

# What a worker process does: count an RPC, and have three rows wait.
WORKER = """
from prometheus_client import CollectorRegistry
from latentry_server.metrics import Metrics
metrics = Metrics(CollectorRegistry())
rpc = dict(grpc_type="unary", grpc_service="s", grpc_method="m")
metrics.grpc_handled.labels(**rpc, grpc_code="OK").inc()
metrics.of_graph(model="m", version=1, graph="encoder").queue_rows.set(3)
metrics.of_graph(model="m", version=1, graph="encoder").batch_rows.observe(7)
"""
COLLECT = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_the_names_are_the_usual_ones() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    exposed = generate_latest(registry).decode()
    for name, kind in (
        ("grpc_server_started_total", "counter"),
        ("grpc_server_handled_total", "counter"),
        ("grpc_server_msg_received_total", "counter"),
        ("grpc_server_msg_sent_total", "counter"),
        ("grpc_server_handling_seconds", "histogram"),
        ("latentry_queue_seconds", "histogram"),
        ("latentry_compute_seconds", "histogram"),
        ("latentry_batch_rows", "histogram"),
        ("latentry_queue_rows", "gauge"),
        ("latentry_rejected_total", "counter"),
        ("latentry_model_loaded", "gauge"),
        ("latentry_model_loads_total", "counter"),
    ):
        assert f"# TYPE {name} {kind}\n" in exposed


def test_microseconds_fall_into_buckets_of_their_own() -> None:
    registry = CollectorRegistry()
    graph = {"model": "m", "version": "1", "graph": "encoder"}
    metrics = Metrics(registry).of_graph(model="m", version=1, graph="encoder")
    for seconds in (30e-6, 80e-6, 200e-6):
        metrics.compute_seconds.observe(seconds)
    for bound, count in (("2.5e-05", 0), ("5e-05", 1), ("0.0001", 2), ("0.00025", 3)):
        sample = registry.get_sample_value("latentry_compute_seconds_bucket", {**graph, "le": bound})
        assert sample == count


def test_metrics_add_up_over_processes(tmp_path: Path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", WORKER], env=environment, check=True)
    collected = subprocess.run(
        [sys.executable, "-c", COLLECT], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert (
        'grpc_server_handled_total{grpc_code="OK",grpc_method="m",grpc_service="s",grpc_type="unary"} 2.0' in collected
    )
    assert 'latentry_queue_rows{graph="encoder",model="m",version="1"} 6.0' in collected
    assert 'latentry_batch_rows_sum{graph="encoder",model="m",version="1"} 14.0' in collected
