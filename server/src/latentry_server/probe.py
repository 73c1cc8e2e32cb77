"""Asks a server for its health, as a container's health check does."""

from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub


def ask(
    address: str,
    service: str,
    *,
    timeout_s: float,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
) -> str:
    """Ask over gRPC; return SERVING, or in one line why not."""
    try:
        ca, cert, key = (None if file is None else file.read_bytes() for file in (ca_file, cert_file, key_file))
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}"
    if ca is None:
        channel = grpc.insecure_channel(address)
    else:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert))
    with channel:
        try:
            response = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(HealthCheckResponse.ServingStatus.Name(response.status))
