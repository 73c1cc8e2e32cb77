from latentry_server.metrics import Metrics
from prometheus_client import CollectorRegistry, generate_latest


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


def test_series_are_counted_apart_and_dropped_together() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for version in (1, 2):
        of_graph = metrics.of_graph(model="m", version=version, graph="encoder")
        for rows in (1, 3, 5000):
            of_graph.batch_rows.observe(rows)
        of_graph.rejected_deadline.inc()
    metrics.forget(model="m", version=1)

    def sample(name: str, version: str, **labels: str) -> float | None:
        graph = {"model": "m", "version": version, "graph": "encoder"}
        return registry.get_sample_value(f"latentry_{name}", {**graph, **labels})

    assert sample("batch_rows_count", "2") == 3
    assert sample("batch_rows_sum", "2") == 5004
    assert sample("batch_rows_bucket", "2", le="4.0") == 2
    assert sample("batch_rows_bucket", "2", le="+Inf") == 3
    assert sample("rejected_total", "2", reason="deadline") == 1
    assert sample("rejected_total", "2", reason="too_large") == 0
    for name in ("batch_rows_count", "batch_rows_sum"):
        assert sample(name, "1") is None
    assert sample("rejected_total", "1", reason="deadline") is None
