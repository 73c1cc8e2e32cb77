"""The Prometheus metrics."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from latentry_server.tallies import Counter, Distribution, Histogram, Tally

# From 25 µs to 10 s: a small graph runs in tens of microseconds, a large one on a busy machine in seconds.
SECONDS_BUCKETS = (
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
    1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
ROWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

_RPC = ("grpc_type", "grpc_service", "grpc_method")
_GRAPH = ("model", "version", "graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMetrics:
    """The metrics of one graph, labels filled in but for `rejected`'s reason."""

    queue_seconds: Distribution
    compute_seconds: Distribution
    batch_rows: Distribution
    queue_rows: Gauge
    rejected_deadline: Tally
    rejected_queue_full: Tally
    rejected_client_share: Tally
    rejected_would_be_late: Tally
    rejected_too_large: Tally


class Metrics:
    """Every metric of one server process, which its event loop alone adds to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(name, text, labels, registry)

        def gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, labels, buckets, registry)

        self.grpc_started = counter("grpc_server_started_total", "RPCs started.", _RPC)
        self.grpc_handled = counter("grpc_server_handled_total", "RPCs ended, by status code.", (*_RPC, "grpc_code"))
        self.grpc_msg_received = counter("grpc_server_msg_received_total", "Messages received.", _RPC)
        self.grpc_msg_sent = counter("grpc_server_msg_sent_total", "Messages sent.", _RPC)
        self.grpc_handling_seconds = histogram(
            "grpc_server_handling_seconds", "Time from an RPC's start to its end.", _RPC, SECONDS_BUCKETS
        )
        self.queue_seconds = histogram(
            "latentry_queue_seconds", "Time that a request's rows waited for a session.", _GRAPH, SECONDS_BUCKETS
        )
        self.compute_seconds = histogram(
            "latentry_compute_seconds",
            "Time that a batch ran, merging and splitting included.",
            _GRAPH,
            SECONDS_BUCKETS,
        )
        self.batch_rows = histogram("latentry_batch_rows", "Rows of a batch, without padding.", _GRAPH, ROWS_BUCKETS)
        self.queue_rows = gauge("latentry_queue_rows", "Rows that wait for a session.", _GRAPH)
        self.rejected = counter(
            "latentry_rejected_total",
            "Requests refused: queue_full, client_share, would_be_late, too_large; or dropped: deadline.",
            (*_GRAPH, "reason"),
        )
        self.model_loaded = gauge(
            "latentry_model_loaded", "Processes that have the version loaded.", ("model", "version")
        )
        self.model_loads = counter("latentry_model_loads_total", "Loads tried: success, failure.", ("model", "result"))

    def of_graph(self, *, model: str, version: int, graph: str) -> GraphMetrics:
        """Look up the metrics of one graph, once, so that the batcher need not."""
        labels = {"model": model, "version": str(version), "graph": graph}
        return GraphMetrics(
            queue_seconds=self.queue_seconds.labels(**labels),
            compute_seconds=self.compute_seconds.labels(**labels),
            batch_rows=self.batch_rows.labels(**labels),
            queue_rows=self.queue_rows.labels(**labels),
            rejected_deadline=self.rejected.labels(**labels, reason="deadline"),
            rejected_queue_full=self.rejected.labels(**labels, reason="queue_full"),
            rejected_would_be_late=self.rejected.labels(**labels, reason="would_be_late"),
            rejected_client_share=self.rejected.labels(**labels, reason="client_share"),
            rejected_too_large=self.rejected.labels(**labels, reason="too_large"),
        )

    def forget(self, *, model: str, version: int) -> None:
        """Drop the series of a version that is gone, since who publishes daily would else pile them up."""
        of_version = (
            self.queue_seconds,
            self.compute_seconds,
            self.batch_rows,
            self.queue_rows,
            self.rejected,
            self.model_loaded,
        )
        for metric in of_version:
            metric.remove_by_labels({"model": model, "version": str(version)})


class SupervisorMetrics:
    """What the supervisor of several workers measures itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge("latentry_workers", "Worker processes that are ready.", registry=registry)
        text = "Worker processes started in the place of dead ones."
        self.restarts = Counter("latentry_worker_restarts_total", text, (), registry).labels()
