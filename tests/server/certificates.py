"""Certificates for tests, made by the openssl command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    cert: Path
    key: Path


def make_authority(folder: Path, name: str) -> Pair:
    """Make a certificate that may sign others."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", pair.key, "-out", pair.cert, "-subj", f"/CN={name}")
    return pair


def make_certificate(folder: Path, name: str, authority: Pair, *, days: int = 2) -> Pair:
    """Make a certificate for localhost and 127.0.0.1, signed by an authority; one of -1 days has expired."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    request, names = folder / f"{name}.csr", folder / f"{name}.ext"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    _openssl("req", *_NEW_KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
    signing = ("-CA", authority.cert, "-CAkey", authority.key, "-CAcreateserial", "-days", str(days), "-extfile", names)
    _openssl("x509", "-req", "-in", request, "-out", pair.cert, *signing)
    return pair


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
