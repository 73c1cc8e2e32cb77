"""Certificates and tokens: who is let in, what the others learn, and what changes while the server runs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.inference_service_pb2_grpc import InferenceServiceStub
from latentry.v1.model_service_pb2_grpc import ModelServiceStub
from latentry_server.certificates import server_credentials
from latentry_server.errors import StartError
from latentry_server.probe import ask
from latentry_server.transport import tokens
from latentry_server.transport.tokens import Tokens

from tests.server.bundles import images
from tests.server.certificates import Pair, make_authority, make_certificate
from tests.server.serving import Served, details, rich_status, serve, tensor

LIST = model_service_pb2.ListModelsRequest()


async def ends_with(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# Tokens


def with_token(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the file with every call."""
    monkeypatch.setattr(tokens, "_REFRESH_INTERVAL_S", 0)


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "sesame", "Basic sesame", "Bearer sesame2", "Bearer "])
async def test_without_the_token_only_health_is_told(
    repository: Path, tmp_path: Path, authorization: str | None
) -> None:
    (tmp_path / "token").write_text("sesame\n")
    metadata = () if authorization is None else (("authorization", authorization),)
    async with serve(repository, token_file=tmp_path / "token") as served:
        for call in (
            served.inference.Encode(b"", metadata=metadata),
            served.models.ListModels(LIST, metadata=metadata),
            served.inference.Stream(metadata=metadata).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert details(rich_status(caught.value))["ErrorInfo"].reason == "UNAUTHENTICATED"
            assert "sesame" not in str(caught.value.details())
        answer = await asyncio.to_thread(
            ask, f"127.0.0.1:{served.server.port}", "", timeout_s=10, ca_file=None, cert_file=None, key_file=None
        )
        assert answer == "SERVING"
        await served.models.ListModels(LIST, metadata=with_token("sesame"))


@pytest.mark.usefixtures("no_wait")
async def test_tokens_are_changed_without_a_restart(repository: Path, tmp_path: Path) -> None:
    """First the old one, then both, then the new one; then a mistake, which changes nothing."""
    file = tmp_path / "token"
    file.write_text("old\n")

    async def accepted(served: Served) -> list[str]:
        return [
            token
            for token in ("old", "new", "")
            if await ends_with(served.models.ListModels(LIST, metadata=with_token(token))) is grpc.StatusCode.OK
        ]

    async with serve(repository, token_file=file) as served:
        assert await accepted(served) == ["old"]
        file.write_text("old\n\n  new  \n")
        assert await accepted(served) == ["old", "new"]
        other = tmp_path / "other"
        other.write_text("new\n")
        other.replace(file)
        assert await accepted(served) == ["new"]
        file.write_text(" \n")
        assert await accepted(served) == ["new"]
        file.unlink()
        assert await accepted(served) == ["new"]


def test_a_mistake_in_the_token_file_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "_REFRESH_INTERVAL_S", 0)
    file = tmp_path / "token"
    file.write_text("sesame")
    known = Tokens(file)
    file.write_text("")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert known.accept("Bearer sesame")
    assert [record.message for record in caplog.records] == [
        "token_file: expected a token a line, got an empty file; what was read before goes on"
    ]


def test_a_token_file_needs_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n \n")
    with pytest.raises(StartError, match="token_file: expected a token a line, got an empty file"):
        Tokens(tmp_path / "token")


# TLS


def channel_to(port: int, ca: Pair, own: Pair | None = None) -> grpc.aio.Channel:
    """Make a channel with a connection of its own: handshakes are what is tested."""
    pair = (None, None) if own is None else (own.key.read_bytes(), own.cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.cert.read_bytes(), *pair)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, (("grpc.use_local_subchannel_pool", 1),))


@asynccontextmanager
async def models(port: int, ca: Pair, own: Pair | None = None) -> AsyncIterator[Any]:
    async with channel_to(port, ca, own) as channel:
        yield ModelServiceStub(channel)


async def reaches(served: Served, ca: Pair, own: Pair | None = None) -> bool:
    """Tell whether a caller gets an answer; who is refused must learn nothing but that the connection failed."""
    async with models(served.server.port, ca, own) as stub:
        code = await ends_with(stub.ListModels(LIST))
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    return code is grpc.StatusCode.OK


async def test_tls_shows_the_servers_certificate(repository: Path, tmp_path: Path) -> None:
    authority, stranger = make_authority(tmp_path, "authority"), make_authority(tmp_path, "stranger")
    own = make_certificate(tmp_path, "server", authority)
    async with serve(repository, tls_cert_file=own.cert, tls_key_file=own.key) as served:
        assert await reaches(served, authority)
        assert not await reaches(served, stranger)
        assert await ends_with(served.models.ListModels(LIST)) is grpc.StatusCode.UNAVAILABLE, "plain text"


async def test_mutual_tls_lets_in_whom_the_authority_vouches_for(repository: Path, tmp_path: Path) -> None:
    authority, stranger = make_authority(tmp_path, "authority"), make_authority(tmp_path, "stranger")
    own = make_certificate(tmp_path, "server", authority)
    client = make_certificate(tmp_path, "client", authority)
    expired = make_certificate(tmp_path, "expired", authority, days=-1)
    forged = make_certificate(tmp_path, "forged", stranger)
    files = {"tls_cert_file": own.cert, "tls_key_file": own.key, "tls_client_ca_file": authority.cert}
    async with serve(repository, **files) as served:
        assert await reaches(served, authority, client)
        for refused in (None, expired, forged):
            assert not await reaches(served, authority, refused)
        answer = await asyncio.to_thread(
            ask,
            f"localhost:{served.server.port}",
            "",
            timeout_s=10,
            ca_file=authority.cert,
            cert_file=client.cert,
            key_file=client.key,
        )
        assert answer == "SERVING"


async def test_certificates_are_changed_without_a_restart(repository: Path, tmp_path: Path) -> None:
    """A connection that is there goes on; new ones see the new certificates; a mistake changes nothing."""
    old, new = make_authority(tmp_path, "old"), make_authority(tmp_path, "new")
    own = make_certificate(tmp_path, "server", old)
    (tmp_path / "later").mkdir()
    later = make_certificate(tmp_path / "later", "server", new)
    ca = tmp_path / "clients.pem"
    ca.write_bytes(old.cert.read_bytes())
    client, later_client = make_certificate(tmp_path, "client", old), make_certificate(tmp_path, "newcomer", new)
    files = {"tls_cert_file": own.cert, "tls_key_file": own.key, "tls_client_ca_file": ca}
    async with serve(repository, **files) as served, models(served.server.port, old, client) as stub:
        await stub.ListModels(LIST)
        assert not await reaches(served, new, later_client)
        ca.write_bytes(new.cert.read_bytes())
        for file, replacement in ((own.key, later.key), (own.cert, later.cert)):  # as when files come one by one
            replacement.replace(file)
            await stub.ListModels(LIST)
        assert await reaches(served, new, later_client)
        assert not await reaches(served, old, client)
        own.cert.write_text("no certificate")
        assert await reaches(served, new, later_client)
        own.cert.unlink()
        assert await reaches(served, new, later_client)
        await stub.ListModels(LIST)


async def test_half_a_change_is_not_taken(repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Between the new key and the new certificate, connections get the old pair."""
    authority = make_authority(tmp_path, "authority")
    own = make_certificate(tmp_path, "server", authority)
    (tmp_path / "later").mkdir()
    later = make_certificate(tmp_path / "later", "server", authority)
    async with serve(repository, tls_cert_file=own.cert, tls_key_file=own.key) as served:
        later.key.replace(own.key)
        assert await reaches(served, authority)
        assert "tls_cert_file: expected a certificate and, in tls_key_file, its key, PEM" in caplog.text
        later.cert.replace(own.cert)
        caplog.clear()
        assert await reaches(served, authority)
        assert "expected" not in caplog.text


def test_a_file_that_is_no_certificate_keeps_the_server_from_starting(tmp_path: Path) -> None:
    pair = make_authority(tmp_path, "authority")
    other = make_authority(tmp_path, "other")
    for cert, key, ca, message in (
        (pair.cert, other.key, None, "tls_cert_file: expected a certificate and, in tls_key_file, its key, PEM"),
        (tmp_path / "none", pair.key, None, "tls_cert_file: cannot read .*none: No such file"),
        (pair.cert, pair.key, pair.key, "tls_client_ca_file: expected certificates, PEM, got .*authority.key"),
    ):
        with pytest.raises(StartError, match=message):
            server_credentials(cert, key, ca)


async def test_connections_with_one_certificate_are_one_client(repository: Path, tmp_path: Path) -> None:
    """Of sixteen rows that may wait, the two of them get eight; two clients would get eight and four."""
    authority = make_authority(tmp_path, "authority")
    own, client = (make_certificate(tmp_path, name, authority) for name in ("server", "client"))
    files = {"tls_cert_file": own.cert, "tls_key_file": own.key, "tls_client_ca_file": authority.cert}
    limits = {"max_batch_rows": 16, "max_queue_rows": 16, "max_request_rows": 16, "max_delay_ms": 1_000}
    request = messages.EncodeRequest(model="stacked", inputs=tensor(images(1)))
    async with (
        serve(repository, **files, **limits) as served,
        channel_to(served.server.port, authority, client) as one,
        channel_to(served.server.port, authority, client) as other,
    ):
        calls = [InferenceServiceStub(channel).Encode(request) for channel in (one, other) for _ in range(8)]
        codes = await asyncio.gather(*map(ends_with, calls))
    assert codes.count(grpc.StatusCode.OK) == 8
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 8
