"""The server's certificates, and those that sign its callers'."""

import ssl
from pathlib import Path

import grpc

from latentry_server.errors import StartError
from latentry_server.watched_files import WatchedFiles


def server_credentials(cert_file: Path, key_file: Path, client_ca_file: Path | None) -> grpc.ServerCredentials:
    """Show the certificate to callers, and ask for theirs where `client_ca_file` is given.

    The files are looked at with every new connection; those that are there go on with what they have seen.

    Raises:
        StartError: a file cannot be read, or is not what it should be.
    """
    files = {"tls_cert_file": cert_file, "tls_key_file": key_file}
    if client_ca_file is not None:
        files["tls_client_ca_file"] = client_ca_file

    def parse(contents: dict[str, bytes]) -> grpc.ServerCertificateConfiguration:
        _check(files)
        pair = contents["tls_key_file"], contents["tls_cert_file"]
        return grpc.ssl_server_certificate_configuration([pair], contents.get("tls_client_ca_file"))

    watched = WatchedFiles(files, parse)
    return grpc.dynamic_ssl_server_credentials(
        watched.content,
        lambda: watched.content if watched.refresh() else None,  # type: ignore[arg-type,return-value]  # None: as before
        require_client_authentication=client_ca_file is not None,
    )


def _check(files: dict[str, Path]) -> None:
    """Find what gRPC would say only in a log of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert_file, key_file, client_ca_file = map(files.get, ("tls_cert_file", "tls_key_file", "tls_client_ca_file"))
    assert cert_file is not None
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        expected = "a certificate and, in tls_key_file, its key, PEM"
        raise StartError(f"tls_cert_file: expected {expected}, got {cert_file} and {key_file}") from error
    if client_ca_file is None:
        return
    try:
        context.load_verify_locations(client_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"tls_client_ca_file: expected certificates, PEM, got {client_ca_file}") from error
