"""The way to the server: address, TLS, token, and the one table of retries and timeouts."""

import ipaddress
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from latentry.v1 import inference_service_pb2_grpc, model_service_pb2_grpc

DEFAULT_ADDRESS = "localhost:50051"

_INFERENCE = "latentry.v1.InferenceService"
_MODELS = "latentry.v1.ModelService"
_HEALTH = "grpc.health.v1.Health"
_STUBS: Mapping[str, Any] = {
    _INFERENCE: inference_service_pb2_grpc.InferenceServiceStub,
    _MODELS: model_service_pb2_grpc.ModelServiceStub,
    _HEALTH: health_pb2_grpc.HealthStub,
}


@dataclass(frozen=True, slots=True)
class Method:
    """How an RPC is called."""

    service: str
    timeout_s: float
    """Unless the call or the client says otherwise."""
    retry: bool
    """Whether it may run twice, so that it is tried again when the server is away or its queue is full."""


METHODS: Mapping[str, Method] = {
    # rpc                 service     timeout_s  retry
    "Encode":      Method(_INFERENCE, 60,        retry=True),
    "Decode":      Method(_INFERENCE, 60,        retry=True),
    "Denoise":     Method(_INFERENCE, 60,        retry=True),
    "Reconstruct": Method(_INFERENCE, 60,        retry=True),
    "Sample":      Method(_INFERENCE, 60,        retry=True),
    "Interpolate": Method(_INFERENCE, 60,        retry=True),
    "Score":       Method(_INFERENCE, 60,        retry=True),
    "StyleMix":    Method(_INFERENCE, 60,        retry=True),
    "Classify":    Method(_INFERENCE, 60,        retry=True),
    "Stream":      Method(_INFERENCE, math.inf,  retry=False),
    "ListModels":  Method(_MODELS,    10,        retry=True),
    "GetModel":    Method(_MODELS,    10,        retry=True),
    "LoadModel":   Method(_MODELS,    600,       retry=False),
    "UnloadModel": Method(_MODELS,    600,       retry=False),
    "Check":       Method(_HEALTH,    10,        retry=False),
}  # fmt: skip

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Before a call is tried again; each pause is twice the one before."""

_MAX_ATTEMPTS_LIMIT = 5  # gRPC's own
_MAX_PORT = 65_535
_MAX_MESSAGE_BYTES = 256 * 1024**2
_KEEPALIVE_MS = 360_000  # servers end connections that ping more often than every 5 minutes, unless told otherwise
_LOOPBACK_NAMES = {"localhost", "ip6-localhost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS: without arguments, the server's certificate is checked against the usual authorities."""

    ca_file: str | PathLike[str] | None = None
    """PEM file of the authorities to trust; None: gRPC's own list."""
    cert_file: str | PathLike[str] | None = None
    """PEM file of the client's certificate, for mutual TLS; with `key_file`."""
    key_file: str | PathLike[str] | None = None
    """PEM file of its private key."""
    server_name: str | None = None
    """The name that the server's certificate must carry; None: the address's host."""

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("tls: expected cert_file and key_file together, got one of them")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """All that a channel needs."""

    address: str
    credentials: grpc.ChannelCredentials | None
    options: tuple[tuple[str, Any], ...]
    metadata: tuple[tuple[str, str], ...]
    """Sent with every call."""

    def open(self) -> grpc.Channel:
        """Open a channel for threads; it connects when the first call is made."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, self.options)
        return grpc.secure_channel(self.address, self.credentials, self.options)

    def open_async(self) -> grpc.aio.Channel:
        """Open a channel for the running event loop."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, self.options)
        return grpc.aio.secure_channel(self.address, self.credentials, self.options)


def endpoint(
    address: str, *, tls: Tls | None, token: str | None, allow_plaintext_token: bool, max_attempts: int
) -> Endpoint:
    """Check the options of a connection and put them together.

    Raises:
        ValueError: the address has no port, max_attempts is not 1 to 5, a file of `tls` is not PEM, or the token is no
            header's value or would cross a network in plain text.
        OSError: a file of `tls` cannot be read.
    """
    _check_address(address)
    if not 1 <= max_attempts <= _MAX_ATTEMPTS_LIMIT:
        raise ValueError(f"max_attempts: expected 1 to {_MAX_ATTEMPTS_LIMIT}, got {max_attempts}")
    if token and tls is None and not (allow_plaintext_token or is_loopback(address)):
        raise ValueError(
            f"token: expected TLS for {address}, got plain text, in which anyone on the way can read it; "
            "give tls, or allow_plaintext_token=True"
        )
    if token and not (token.isascii() and token.isprintable()):
        raise ValueError("token: expected printable ASCII, as HTTP headers take no more")
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.primary_user_agent", "latentry-client"),
        # Else channels with the same options share one connection.
        ("grpc.use_local_subchannel_pool", 1),
        # A call whose message does not fit the retry buffer is never tried again; gRPC's default is 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", _MAX_MESSAGE_BYTES),
        ("grpc.service_config", service_config(max_attempts, is_local=is_loopback(address))),
    ]
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return Endpoint(
        address=address,
        credentials=None if tls is None else _credentials(tls),
        options=tuple(options),
        metadata=(("authorization", f"Bearer {token}"),) if token else (),
    )


def service_config(max_attempts: int, *, is_local: bool) -> str:
    """Write the table's retries as gRPC's service configuration.

    Calls go in turn to all servers that an address stands for; localhost stands for one server by two addresses.
    """
    balancing: dict[str, Any] = {} if is_local else {"loadBalancingConfig": [{"round_robin": {}}]}
    if max_attempts == 1:
        return json.dumps(balancing)
    names = [{"service": method.service, "method": rpc} for rpc, method in METHODS.items() if method.retry]
    retry_policy = {
        "maxAttempts": max_attempts,
        "initialBackoff": f"{FIRST_PAUSE_S}s",
        "maxBackoff": f"{LONGEST_PAUSE_S}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    return json.dumps({**balancing, "methodConfig": [{"name": names, "retryPolicy": retry_policy}]})


def bind(channel: grpc.Channel | grpc.aio.Channel) -> dict[str, Any]:
    """Return what calls each RPC of the table on a channel."""
    stubs = {service: stub(channel) for service, stub in _STUBS.items()}
    return {rpc: getattr(stubs[method.service], rpc) for rpc, method in METHODS.items()}


def is_loopback(address: str) -> bool:
    """Whether an address stays on this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES


def _check_address(address: str) -> None:
    if address.startswith("unix:"):
        return
    host, _, port = address.rpartition(":")
    has_port = port.isdecimal() and 1 <= int(port) <= _MAX_PORT  # gRPC takes larger ones modulo 65536
    if not host or not has_port or host.startswith(("http:", "https:")):
        raise ValueError(f"address: expected HOST:PORT or unix:PATH, got {address!r}")


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    ca, key, cert = (_read_pem(file) for file in (tls.ca_file, tls.key_file, tls.cert_file))
    return grpc.ssl_channel_credentials(ca, key, cert)


def _read_pem(file: str | PathLike[str] | None) -> bytes | None:
    if file is None:
        return None
    content = Path(file).read_bytes()
    if b"-----BEGIN " not in content:
        raise ValueError(f"tls: expected a PEM file, got {fspath(file)}")
    return content
