import dataclasses
import re
from typing import Any

import pytest
from latentry_server.cli import command
from latentry_server.repository.selection import Selection
from latentry_server.settings import Settings


def parse(*arguments: str) -> Settings:
    _, bound, _ = command.parse_args(list(arguments), exit_on_error=False, print_error=False)
    settings = bound.arguments.get("settings", Settings())
    assert isinstance(settings, Settings)
    return settings


def test_without_flags_the_defaults_hold() -> None:
    assert parse() == Settings()
    assert (Settings().host, Settings().port) == ("127.0.0.1", 50051)


def test_every_setting_is_a_flag_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    other: dict[str, Any] = {
        "host": "::1", "device": "cpu", "repository": "elsewhere", "models": "a,b/3", "cache_dir": "cache",
        "log_level": "debug", "tls_cert_file": "a.pem", "tls_key_file": "b.pem", "tls_client_ca_file": "c.pem",
        "token_file": "token",
    }  # fmt: skip
    names = [field.name for field in dataclasses.fields(Settings)]
    values = {name: other.get(name, "17000") for name in names} | {"max_message_mib": "17"}
    by_flag = parse(*(part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)))
    for name, value in values.items():
        monkeypatch.setenv(f"LATENTRY_{name.upper()}", value)
    by_variable = parse()
    assert by_flag == by_variable
    for name, value in values.items():
        assert str(getattr(by_flag, name)).removesuffix(".0") == value


def test_a_flag_wins_over_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTRY_PORT", "1")
    assert parse("--port", "2").port == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 65536}, "port: expected 0 to 65535, got 65536"),
        ({"metrics_port": -1}, "metrics_port: expected 0 to 65535, got -1"),
        ({"max_batch_rows": 0}, "max_batch_rows: expected at least 1, got 0"),
        ({"max_request_rows": 0}, "max_request_rows: expected at least 1, got 0"),
        ({"max_stream_requests": 0}, "max_stream_requests: expected at least 1, got 0"),
        ({"max_queue_rows": 4095}, "max_queue_rows: expected at least 4096, got 4095"),
        ({"max_queue_mib": 0}, "max_queue_mib: expected at least 1, got 0"),
        ({"max_message_mib": 2048}, "max_message_mib: expected 1 to 2047, got 2048"),
        ({"max_delay_ms": -1.0}, "max_delay_ms: expected at least 0, got -1.0"),
        ({"poll_interval_s": float("nan")}, "poll_interval_s: expected at least 0, got nan"),
        ({"drain_timeout_s": float("inf")}, "drain_timeout_s: expected at least 0, got inf"),
        ({"max_calls": 0}, "max_calls: expected at least 1, got 0"),
        ({"max_connection_age_s": 3e6}, "max_connection_age_s: expected 0 to 2147483.647, got 3000000.0"),
        (
            {"models": "vae, a/b"},
            "models: expected *, <model> or <model>/<version>, separated by commas, got 'a/b'",
        ),
        ({"threads": -1}, "threads: expected at least 0, got -1"),
        ({"tls_cert_file": "a.pem"}, "tls_key_file: expected a file"),
        ({"tls_key_file": "a.pem"}, "tls_cert_file: expected a file"),
        ({"tls_client_ca_file": "a.pem"}, "tls_client_ca_file: expected tls_cert_file and tls_key_file"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Settings(**values)


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("*", Selection(all_models=True)),
        ("", Selection()),
        ("vae", Selection(models=frozenset({"vae"}))),
        ("vae/3", Selection(pinned=frozenset({("vae", 3)}))),
        (" *, vae/3 ,", Selection(all_models=True, pinned=frozenset({("vae", 3)}))),
    ],
)
def test_what_is_loaded_is_a_list(text: str, selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("--models", text).selection == selection
    monkeypatch.setenv("LATENTRY_MODELS", text)
    assert parse().selection == selection


@pytest.mark.parametrize("entry", ["/3", "vae/", "vae/0", "vae/03", "vae/latest", "va e", "v*", "vae/3/4"])
def test_what_is_no_model_or_version_cannot_be_loaded(entry: str) -> None:
    with pytest.raises(ValueError, match=f"models: expected .*, got {re.escape(repr(entry))}"):
        Settings(models=f"*,{entry}")
