"""Serves the metrics over HTTP, in a thread of its own."""

from prometheus_client import CollectorRegistry, start_http_server

from latentry_server.errors import StartError


class MetricsServer:
    """Listens from the start on; to be closed from another thread than the event loop's."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """Listen; StartError where the port is taken."""
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise StartError(f"metrics_port: cannot listen on {host}:{port}: {error.strerror}") from error

    def close(self) -> None:
        """Answer what is asked now, then end."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
