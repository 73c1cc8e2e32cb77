"""The address that the server listens on, and how it treats the connections there."""

from typing import Any

import grpc
import grpc.aio

from latentry_server.certificates import server_credentials
from latentry_server.errors import StartError
from latentry_server.ports import address
from latentry_server.settings import Settings

# Whoever connects and does not say what it speaks is let go; gRPC's own limit is two minutes.
_HANDSHAKE_TIMEOUT_MS = 10_000
# How long the answer to a ping may take.
_PING_TIMEOUT_MS = 20_000


def listen(server: grpc.aio.Server, settings: Settings) -> int:
    """Take the settings' port, and return it; StartError where it is taken or the certificate is no good."""
    where = address(settings.host, settings.port)
    try:
        if settings.tls_cert_file is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, _credentials(settings))
    except RuntimeError as error:
        raise StartError(f"port: cannot listen on {where}; is the port taken?") from error


def channel_options(settings: Settings) -> list[tuple[str, Any]]:
    """List gRPC's own limits on messages and connections; it reads times as whole milliseconds."""
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", settings.max_connection_calls),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
        # Pings without calls are how callers find out that an idle connection is still good.
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(settings.min_ping_interval_s)),
        # Without workers that share the port, a second server would take half of the calls where it is taken.
        ("grpc.so_reuseport", int(settings.workers > 1)),
    ]
    if settings.keepalive_s:
        options += [
            ("grpc.keepalive_time_ms", _milliseconds(settings.keepalive_s)),
            # Not keepalive_timeout_ms, which does nothing while it is shorter than this one.
            ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
    # No max_connection_idle_ms: calls that begin at that moment are lost. See docs/decisions/0021.
    if settings.max_connection_age_s:
        options += [
            ("grpc.max_connection_age_ms", _milliseconds(settings.max_connection_age_s)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(settings.drain_timeout_s)),
        ]
    return options


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    assert settings.tls_cert_file is not None
    assert settings.tls_key_file is not None
    return server_credentials(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
