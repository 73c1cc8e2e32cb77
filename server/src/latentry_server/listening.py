"""The address that the server listens on, and the certificates that it shows there."""

from pathlib import Path

import grpc
import grpc.aio

from latentry_server.errors import StartError
from latentry_server.settings import Settings


def listen(server: grpc.aio.Server, settings: Settings) -> int:
    """Take the settings' port, and return it; StartError where it is taken or the certificate is no good."""
    where = address(settings.host, settings.port)
    try:
        if settings.tls_cert_file is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, _credentials(settings))
    except RuntimeError as error:
        what = "is the port taken?" if settings.tls_cert_file is None else "is the port taken, is the certificate good?"
        raise StartError(f"port: cannot listen on {where}; {what}") from error


def address(host: str, port: int) -> str:
    """Write host and port as gRPC reads them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    assert settings.tls_cert_file is not None
    assert settings.tls_key_file is not None
    pair = (read_file("tls_key_file", settings.tls_key_file), read_file("tls_cert_file", settings.tls_cert_file))
    if settings.tls_client_ca_file is None:
        return grpc.ssl_server_credentials([pair])
    client_ca = read_file("tls_client_ca_file", settings.tls_client_ca_file)
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=True)


def read_file(setting: str, file: Path) -> bytes:
    """Read a file that a setting names; StartError where it cannot be."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartError(f"{setting}: cannot read {file}: {error.strerror}") from error
