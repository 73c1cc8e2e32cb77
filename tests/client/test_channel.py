"""Connections: retries, tokens, TLS and mutual TLS against a real server."""

import asyncio
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
from latentry.v1 import inference_service_pb2, model_service_pb2
from latentry_client import AsyncClient, Client, Tls, exceptions
from latentry_client.channel import METHODS, is_loopback

from tests.client.plain_service import PlainService, serving

LARGE = np.zeros((256, 1, 64, 64), np.float32)  # 4 MiB: more than gRPC's own retry buffer


async def test_a_call_is_tried_again(address: str, service: PlainService) -> None:
    service.failures_left["plain"] = 2
    with Client(address) as client:
        assert client.encode("plain", LARGE).run.version == 3
    assert len(service.requests) == 3
    service.failures_left["plain"] = 2
    async with AsyncClient(address) as async_client:
        assert (await async_client.encode("plain", LARGE)).run.version == 3
    assert len(service.requests) == 6


def test_calls_go_in_turn_to_all_servers_of_an_address() -> None:
    services = PlainService(), PlainService()
    with serving(services[0]) as one, serving(services[1]) as other:
        client = Client(f"ipv4:{one},{other}")
        for _ in range(40):
            client.sample("plain", 1)
        client.close()
    assert all(service.requests for service in services)


def test_attempts_end(address: str, service: PlainService) -> None:
    service.failures_left["plain"] = 10
    with Client(address, max_attempts=2) as client, pytest.raises(exceptions.UnavailableError, match="not yet"):
        client.sample("plain", 1)
    assert len(service.requests) == 2


def test_loading_is_tried_once(address: str, service: PlainService) -> None:
    service.failures_left["plain"] = 10
    with Client(address) as client:
        with pytest.raises(exceptions.UnavailableError):
            client.load_model("plain")
        with pytest.raises(exceptions.UnavailableError):
            client.unload_model("plain")
    assert len(service.requests) == 2


def test_an_error_of_the_callers_is_not_tried_again(address: str, service: PlainService) -> None:
    with Client(address) as client, pytest.raises(exceptions.InvalidArgumentError):
        client.sample("invalid", 1)
    assert len(service.requests) == 1


async def test_waiting_for_a_server_that_starts_later(service: PlainService, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/latentry.sock"
    async with AsyncClient(address, wait_for_ready=True) as client:
        call = asyncio.create_task(client.sample("plain", 1))
        await asyncio.sleep(0.2)
        assert not call.done()
        with serving(service, listen=address):
            assert (await call).run.version == 3


async def test_the_token_goes_with_every_call(address: str, service: PlainService) -> None:
    with Client(address, token="s3cret") as client:  # noqa: S106
        client.sample("plain", 1)
        client.list_models()
        list(client.stream([]))
    async with AsyncClient(address, token="s3cret") as async_client:  # noqa: S106
        await async_client.sample("plain", 1)
    assert [metadata["authorization"] for metadata in service.metadata] == ["Bearer s3cret"] * 5


def test_the_token_stays_on_this_machine_in_plain_text() -> None:
    with pytest.raises(ValueError, match=r"token: expected TLS for example\.org:8500, got plain text"):
        Client("example.org:8500", token="s3cret")  # noqa: S106
    Client("example.org:8500", token="s3cret", allow_plaintext_token=True).close()  # noqa: S106
    Client("example.org:8500", token="s3cret", tls=Tls()).close()  # noqa: S106


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost:1", True),
        ("127.0.0.2:1", True),
        ("[::1]:1", True),
        ("unix:/run/latentry.sock", True),
        ("localhost.example.org:1", False),
        ("192.0.2.1:1", False),
        ("[2001:db8::1]:1", False),
        ("dns:///localhost:1", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        ":8500",
        "localhost:http",
        "localhost:0",
        "localhost:99999",
        "http://localhost:8500",
    ],
)
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address: expected HOST:PORT"):
        Client(address)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.der").write_bytes(b"\x30\x82")
    with pytest.raises(ValueError, match=r"tls: expected a PEM file, got .*ca\.der"):
        Client(tls=Tls(ca_file=tmp_path / "ca.der"))
    for token in ("sécret", "two\nlines"):
        with pytest.raises(ValueError, match="token: expected printable ASCII"):
            Client(token=token)
    with pytest.raises(ValueError, match="max_attempts: expected 1 to 5, got 6"):
        Client(max_attempts=6)
    with pytest.raises(ValueError, match="max_rows: expected at least 1, got 0"):
        Client(max_rows=0)
    with pytest.raises(ValueError, match="timeout_s: expected more than 0, got 0"):
        Client(timeout_s=0)
    with Client() as client, pytest.raises(ValueError, match="timeout_s: expected more than 0, got -1"):
        client.sample("plain", 1, timeout_s=-1)
    with pytest.raises(ValueError, match="cert_file and key_file together"):
        Tls(cert_file="a.pem")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Client(tls=Tls(ca_file="nowhere.pem"))


def test_every_rpc_of_the_api_is_in_the_table() -> None:
    services = [
        inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    ]
    for service in services:
        for rpc in service.methods:
            assert METHODS[rpc.name].service == service.full_name


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server's and a client's certificate by it."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}.test")
        signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed_by)
    return folder


def test_tls(service: PlainService, certificates: Path) -> None:
    pair = ((certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes())
    trusted = Tls(ca_file=certificates / "ca.pem", server_name="server.test")
    with serving(service, grpc.ssl_server_credentials([pair])) as address:
        with Client(address, tls=trusted, token="s3cret") as client:  # noqa: S106
            assert client.sample("plain", 1).run.version == 3
        for untrusted in (Tls(server_name="server.test"), Tls(ca_file=certificates / "ca.pem")):
            with Client(address, tls=untrusted, max_attempts=1) as client, pytest.raises(exceptions.UnavailableError):
                client.sample("plain", 1)
    assert service.metadata[0]["authorization"] == "Bearer s3cret"


async def test_mutual_tls(service: PlainService, certificates: Path) -> None:
    pair = ((certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes())
    ca_file = certificates / "ca.pem"
    credentials = grpc.ssl_server_credentials([pair], ca_file.read_bytes(), require_client_auth=True)
    known = Tls(
        ca_file=ca_file,
        cert_file=certificates / "client.pem",
        key_file=certificates / "client.key",
        server_name="server.test",
    )
    with serving(service, credentials) as address:
        async with AsyncClient(address, tls=known) as async_client:
            assert (await async_client.sample("plain", 1)).run.version == 3
        unknown = Tls(ca_file=ca_file, server_name="server.test")
        with Client(address, tls=unknown, max_attempts=1) as client, pytest.raises(exceptions.UnavailableError):
            client.sample("plain", 1)
