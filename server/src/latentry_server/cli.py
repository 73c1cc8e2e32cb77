"""The command `latentry-server`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import cyclopts

from latentry_server.settings import Settings

# What waits on a health check waits for seconds: the layers, onnxruntime among them, are imported where they are used.

command = cyclopts.App(
    name="latentry-server",
    help="Serve bundles of ONNX graphs over gRPC.",
    config=cyclopts.config.Env("LATENTRY_"),
    help_format="plaintext",
)


@command.default
def serve(settings: Annotated[Settings, cyclopts.Parameter(name="*")] = Settings()) -> int:  # noqa: B008 (frozen)
    """Serve the bundles of a repository until SIGTERM or SIGINT, then answer what is in flight and end."""
    # gRPC's core writes lines of its own to the error stream; what matters of them comes back as errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    from latentry_server import logs  # noqa: PLC0415
    from latentry_server.errors import StartError  # noqa: PLC0415

    try:
        if settings.workers == 1:
            import uvloop  # noqa: PLC0415

            from latentry_server import app  # noqa: PLC0415

            logs.configure(settings.log_level)
            uvloop.run(app.run(settings))
        else:
            from latentry_server.workers import supervisor  # noqa: PLC0415

            logs.configure(settings.log_level, process="supervisor")
            asyncio.run(supervisor.run(settings))
    except StartError as error:
        print(f"latentry-server: {error}", file=sys.stderr)
        return 1
    return 0


@command.command
def health(
    *,
    address: str = "127.0.0.1:50051",
    service: str = "",
    timeout_s: float = 3.0,
    tls_ca_file: Path | None = None,
    tls_cert_file: Path | None = None,
    tls_key_file: Path | None = None,
) -> int:
    """Ask a server over gRPC whether it serves: exit code 0 where it does, 1 where not, as a container's health check.

    Args:
        address: host:port of the server.
        service: "" for the server, "<model>" or "<model>/<version>".
        timeout_s: how long to wait for the answer.
        tls_ca_file: certificates that sign the server's, PEM; given: TLS.
        tls_cert_file: this caller's certificate, PEM, for mutual TLS.
        tls_key_file: this caller's private key, PEM, for mutual TLS.
    """
    from latentry_server.probe import ask  # noqa: PLC0415

    answer = ask(
        address,
        service,
        timeout_s=timeout_s,
        ca_file=tls_ca_file,
        cert_file=tls_cert_file,
        key_file=tls_key_file,
    )
    print(answer)
    return 0 if answer == "SERVING" else 1


def main() -> None:
    """Run the command."""
    try:
        function, arguments, _ = command.parse_args()
    except ValueError as error:  # what Settings refuses
        print(f"latentry-server: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(function(*arguments.args, **arguments.kwargs))
