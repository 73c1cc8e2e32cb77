"""The flags that every command has: where the server is, and how to answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from latentry_client.channel import DEFAULT_ADDRESS, Tls
from latentry_client.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Flags of all commands."""

    address: Annotated[str, Parameter(env_var="LATENTRY_ADDRESS")] = DEFAULT_ADDRESS
    """Where the server listens: HOST:PORT or unix:PATH."""

    token: Annotated[str | None, Parameter(env_var="LATENTRY_TOKEN")] = None
    """Bearer token; the variable keeps it out of the list of processes."""

    allow_plaintext_token: Annotated[bool, Parameter(negative="")] = False
    """Send the token to another machine without TLS, where anyone on the way can read it."""

    tls: Annotated[bool, Parameter(negative="")] = False
    """Use TLS; every other --tls option implies it."""

    tls_ca_file: Annotated[Path | None, Parameter(env_var="LATENTRY_TLS_CA_FILE")] = None
    """Certificates that sign the server's, PEM."""

    tls_cert_file: Path | None = None
    """Your certificate, PEM, for mutual TLS."""

    tls_key_file: Path | None = None
    """Its private key, PEM."""

    tls_server_name: str | None = None
    """The name in the server's certificate, where it is not the address's host."""

    timeout_s: float | None = None
    """Seconds that each call may take; without it, 60 for inference."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON object, for machines."""

    def open(self) -> Client:
        """Make the client."""
        uses_tls = self.tls or any((self.tls_ca_file, self.tls_cert_file, self.tls_key_file, self.tls_server_name))
        tls = Tls(
            ca_file=self.tls_ca_file,
            cert_file=self.tls_cert_file,
            key_file=self.tls_key_file,
            server_name=self.tls_server_name,
        )
        return Client(
            self.address,
            tls=tls if uses_tls else None,
            token=self.token,
            allow_plaintext_token=self.allow_plaintext_token,
            timeout_s=self.timeout_s,
        )


Connected: TypeAlias = Annotated[Connection, Parameter(name="*", group="Connection")]
DEFAULTS = Connection()
