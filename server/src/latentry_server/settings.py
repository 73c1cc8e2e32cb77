"""Every setting of the server: a flag of `latentry-server` and a `LATENTRY_*` environment variable each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentry_server.repository.selection import Selection

MIB = 2**20
_MAX_MILLISECONDS = 2**31 - 1  # gRPC counts them in 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the server runs. ValueError names the setting that is wrong."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 takes calls from other machines, as a container must."""

    port: int = 50051
    """Port of the gRPC API; 0 picks a free one and prints it."""

    repository: str = "models"
    """Folder of the bundles, <model>/<version>/, or an fsspec URL of it, such as s3://bucket/models."""

    cache_dir: Path | None = None
    """Folder that keeps what a repository behind a URL has sent; none: one among temporary files."""

    cache_mib: int = 4096
    """Most MiB kept there; more only while it is in use."""

    models: str = "*"
    """What is loaded, separated by commas: * for the newest version of every model, <model> for the newest of one,
    <model>/<version> for that one. Empty: nothing until LoadModel asks for it."""

    device: str = "auto"
    """Where graphs run: auto, cpu, cuda or cuda:<index>. Start fails where CUDA is asked for and not there."""

    workers: int = 1
    """Processes that share the port, each with all models; more than one where Python itself is what is busy."""

    threads: int = 0
    """Threads of each session; 0: as many as the CPUs that the server may use, divided by the workers."""

    max_batch_rows: int = 256
    """Most rows of one run of a graph; larger requests are split."""

    max_queue_rows: int = 16384
    """Most rows that wait for one graph; a request beyond them gets RESOURCE_EXHAUSTED."""

    max_queue_mib: int = 512
    """Most MiB of inputs that wait, over all graphs of a process; a request beyond them gets RESOURCE_EXHAUSTED."""

    max_request_rows: int = 4096
    """Most rows of one request and of its answer."""

    max_delay_ms: float = 0.0
    """How long an idle session waits for more rows than it has; 0: not at all."""

    max_run_s: float = 120.0
    """How long one run of a graph may take before it is ended and its requests fail."""

    max_message_mib: int = 64
    """Most MiB of one message, either way."""

    max_stream_requests: int = 64
    """Most requests in flight on one Stream."""

    max_streams: int = 256
    """Most Streams open at a time in one process, and as many watches of its health; more get RESOURCE_EXHAUSTED."""

    max_calls: int = 2048
    """Most calls in flight in one process, Streams included; more get RESOURCE_EXHAUSTED."""

    max_connections: int = 4096
    """Most connections to one process; more are closed at once. The limit on open files must be above it."""

    max_connection_calls: int = 256
    """Most calls in flight on one connection; clients hold back the others."""

    max_connection_age_s: float = 0.0
    """How long a connection is kept, so that clients spread over new servers, too; its calls then have drain_timeout_s
    to end. 0: for ever."""

    keepalive_s: float = 60.0
    """How often a silent connection is pinged, so that the calls of a caller who vanished end; 0: never."""

    min_ping_interval_s: float = 30.0
    """How often a client may ping while nothing is sent; who does so more often loses its connection."""

    poll_interval_s: float = 5.0
    """How often the repository is looked at for new versions; 0: never."""

    load_timeout_s: float = 60.0
    """How long a bundle may be tried in a process of its own before it is loaded; 0: it is loaded untried."""

    metrics_port: int = 8002
    """Port of the Prometheus metrics, on the same host; 0: none."""

    drain_timeout_s: float = 30.0
    """How long calls in flight may take after SIGTERM or SIGINT."""

    drain_refuse_s: float = 0.5
    """How long new calls still get UNAVAILABLE before the port closes: time for clients and balancers to move on."""

    tls_cert_file: Path | None = None
    """The server's certificate chain, PEM. Given with tls_key_file: TLS."""

    tls_key_file: Path | None = None
    """The server's private key, PEM."""

    tls_client_ca_file: Path | None = None
    """Certificates that sign clients' certificates, PEM. Given: mutual TLS."""

    token_file: Path | None = None
    """File with the bearer tokens, one a line, of which every call but health checks must carry one."""

    otlp_endpoint: str = ""
    """Where OpenTelemetry traces are sent, over OTLP/gRPC: http://host:4317, or https:// for TLS. Empty: nowhere."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged to the standard error stream; debug has a line for every call."""

    def __post_init__(self) -> None:
        for name in ("port", "metrics_port"):
            _require(name, getattr(self, name), lowest=0, highest=65535)
        for name in (
            "workers", "max_batch_rows", "max_queue_mib", "max_request_rows", "max_stream_requests", "max_streams",
            "max_calls", "max_connections", "max_connection_calls",
        ):  # fmt: skip
            _require(name, getattr(self, name), lowest=1)
        _require("max_message_mib", self.max_message_mib, lowest=1, highest=2047)  # gRPC counts bytes in 32 bits
        for name in (
            "threads",
            "max_delay_ms",
            "poll_interval_s",
            "load_timeout_s",
            "cache_mib",
            "drain_timeout_s",
            "drain_refuse_s",
        ):
            _require(name, getattr(self, name), lowest=0)
        _require("max_run_s", self.max_run_s, lowest=0.001)
        for name in ("max_connection_age_s", "keepalive_s", "min_ping_interval_s"):
            _require(name, getattr(self, name), lowest=0, highest=_MAX_MILLISECONDS / 1000)
        _require("max_queue_rows", self.max_queue_rows, lowest=max(self.max_batch_rows, self.max_request_rows))
        Selection.parse(self.models)
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            missing = "tls_cert_file" if self.tls_cert_file is None else "tls_key_file"
            raise ValueError(f"{missing}: expected a file, since TLS needs certificate and key, got none")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file: expected tls_cert_file and tls_key_file beside it, got neither")

    @property
    def selection(self) -> Selection:
        """What is loaded without being asked for."""
        return Selection.parse(self.models)

    @property
    def max_message_bytes(self) -> int:
        """Most bytes of one message."""
        return self.max_message_mib * MIB


def _require(name: str, value: float, *, lowest: float, highest: float = float("inf")) -> None:
    # Written so that NaN fails, too.
    if not lowest <= value <= highest or value == float("inf"):
        expected = f"at least {lowest}" if highest == float("inf") else f"{lowest} to {highest}"
        raise ValueError(f"{name}: expected {expected}, got {value}")
