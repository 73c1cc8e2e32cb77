"""What the supervisor is made of, without processes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from latentry_server import app
from latentry_server.errors import (
    BundleInvalidError,
    LatentryError,
    ModelNotFoundError,
    StartError,
    VersionNotLoadedError,
)
from latentry_server.ports import reserve_port
from latentry_server.sessions.devices import Device
from latentry_server.sessions.onnx import OnnxRuntime
from latentry_server.settings import Settings
from latentry_server.signals import describe_exit
from latentry_server.workers.counts import add_up
from latentry_server.workers.link import Link, LinkClosedError
from latentry_server.workers.relay import Relay
from latentry_server.workers.supervisor import Pauses
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

# Link


@asynccontextmanager
async def linked(**handlers: Callable[..., Awaitable[Any]]) -> AsyncIterator[tuple[Link, Link]]:
    """Yield two linked ends, the second of which has the handlers."""
    one, other = Link({}), Link(handlers)
    ends = socket.socketpair()
    await asyncio.gather(one.open(ends[0]), other.open(ends[1]))
    try:
        yield one, other
    finally:
        one.close()
        other.close()
        await asyncio.sleep(0)


async def test_calls_are_answered_whatever_their_order() -> None:
    async def late(value: int) -> int:
        await asyncio.sleep(0.01 * (3 - value))
        return value

    async with linked(late=late) as (link, _):
        assert await asyncio.gather(*(link.call("late", value) for value in range(3))) == [0, 1, 2]


async def test_a_handlers_error_is_the_callers() -> None:
    async def refuse() -> None:
        raise VersionNotLoadedError("vae", 3)

    async def fail() -> None:
        raise ZeroDivisionError("by zero")

    async with linked(refuse=refuse, fail=fail) as (link, _):
        with pytest.raises(VersionNotLoadedError, match="'vae' does not have version 3 loaded") as caught:
            await link.call("refuse")
        assert caught.value.version == 3
        with pytest.raises(RuntimeError, match="by zero"):
            await link.call("fail")


async def test_calls_fail_once_the_other_process_has_gone() -> None:
    async with linked(wait=asyncio.Event().wait) as (link, other):
        calling = asyncio.create_task(link.call("wait"))
        await asyncio.sleep(0.01)
        other.close()
        with pytest.raises(LinkClosedError):
            await calling
        with pytest.raises(LinkClosedError):
            await link.call("wait")


# Relay


class Models:
    """A worker with one model of a few versions."""

    def __init__(self, *versions: int, error: LatentryError | None = None) -> None:
        self.loaded = dict.fromkeys(versions, False)
        self.asked: list[tuple[str, int, bool]] = []
        self.error = error

    async def act(self, action: str, name: str, version: int, *, pinned: bool) -> tuple[int, ...]:
        self.asked.append((action, version, pinned))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if name != "vae":
            raise ModelNotFoundError(name)
        if action == "load":
            self.loaded[version or max(self.loaded)] = True
            return (version or max(self.loaded),)
        gone = tuple(number for number, loaded in self.loaded.items() if loaded and version in (0, number))
        if not gone:
            raise VersionNotLoadedError(name, version)
        self.loaded.update(dict.fromkeys(gone, False))
        return gone


class Gone:
    async def act(self, *_: object, **__: object) -> tuple[int, ...]:
        raise LinkClosedError


async def test_every_worker_acts_in_the_same_order() -> None:
    relay, one, other = Relay(), Models(1, 2), Models(1, 2)
    await relay.join(one)
    await relay.join(other)
    assert await relay.act(one, "load", "vae", 1) == (1,)
    answers = await asyncio.gather(relay.act(one, "load", "vae", 0), relay.act(other, "unload", "vae", 0))
    assert tuple(answers) == ((2,), (1, 2))
    assert one.loaded == other.loaded == {1: False, 2: False}
    assert one.asked == other.asked


async def test_who_joins_later_does_what_was_asked_last() -> None:
    relay, one, late = Relay(), Models(1, 2, 3), Models(1, 2, 3, 4)
    await relay.join(one)
    for action, version in (("load", 1), ("load", 2), ("unload", 1), ("load", 3), ("unload", 3), ("load", 0)):
        await relay.act(one, action, "vae", version)  # type: ignore[arg-type]
    one.loaded[4] = False  # published later
    await relay.act(one, "load", "vae", 0)
    await relay.join(late)
    assert late.asked == [("load", 2, True), ("unload", 1, True), ("load", 4, False)]


async def test_the_first_error_of_a_load_is_told_and_all_have_tried() -> None:
    relay, one, broken = Relay(), Models(1), Models(1, error=BundleInvalidError("no memory"))
    await relay.join(one)
    await relay.join(broken)
    with pytest.raises(BundleInvalidError, match="no memory"):
        await relay.act(one, "load", "vae", 1)
    assert one.loaded == {1: True}
    with pytest.raises(ModelNotFoundError):
        await relay.act(one, "load", "gan", 1)


async def test_an_unload_is_done_where_any_worker_had_it() -> None:
    relay, one, other = Relay(), Models(1), Models(1)
    await relay.join(one)
    await relay.join(other)
    other.loaded = {1: True}
    assert await relay.act(one, "unload", "vae", 0) == (1,)
    with pytest.raises(VersionNotLoadedError):
        await relay.act(one, "unload", "vae", 0)


async def test_a_worker_that_has_gone_is_no_error() -> None:
    relay, one, gone = Relay(), Models(1), Gone()
    await relay.join(one)
    await relay.join(gone)
    assert await relay.act(one, "load", "vae", 1) == (1,)
    relay.leave(gone)
    assert await relay.act(one, "load", "vae", 1) == (1,)


# Threads


@pytest.mark.parametrize(("threads", "workers", "expected"), [(0, 1, 8), (0, 2, 4), (0, 16, 1), (3, 2, 3)])
def test_workers_share_the_cpus(
    threads: int, workers: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def open_runtime(*, device: Device, num_threads: int) -> OnnxRuntime:
        opened.append(num_threads)
        return OnnxRuntime(device=device, num_threads=num_threads)

    monkeypatch.setattr(app, "available_cpus", lambda: 8)
    monkeypatch.setattr(app, "OnnxRuntime", open_runtime)

    async def make() -> None:
        app.Server(Settings(repository=str(tmp_path), device="cpu", threads=threads, workers=workers))

    asyncio.run(make())
    assert opened == [expected]


# Counts


def test_metrics_of_workers_add_up() -> None:
    registries = [CollectorRegistry() for _ in range(2)]
    for number, registry in enumerate(registries):
        calls = Counter("calls_total", "Calls.", ["code"], registry=registry)
        calls.labels("OK").inc(2)
        calls.labels(f"E{number}").inc()
        Gauge("process_start_time_seconds", "Start.", registry=registry).set(100 + number)
        seconds = Histogram("seconds", "Time.", registry=registry, buckets=(1, 2))
        seconds.observe(0.5 + number)
    sums = CollectorRegistry()
    sums.register(Fixed(add_up(registry.collect() for registry in registries)))
    for name, labels, value in (
        ("calls_total", {"code": "OK"}, 4),
        ("calls_total", {"code": "E0"}, 1),
        ("calls_total", {"code": "E1"}, 1),
        ("process_start_time_seconds", {}, 100),
        ("seconds_bucket", {"le": "1.0"}, 1),
        ("seconds_bucket", {"le": "2.0"}, 2),
        ("seconds_sum", {}, 2),
    ):
        assert sums.get_sample_value(name, labels) == value, name
    created = min(registry.get_sample_value("seconds_created") or 0 for registry in registries)
    assert sums.get_sample_value("seconds_created") == created
    assert b"# TYPE seconds histogram" in generate_latest(sums)


class Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


# Pauses


def test_pauses_grow_to_a_bound_and_begin_anew_after_a_long_life() -> None:
    pauses = Pauses()
    grown = [pauses.next_s(lived_s=1) for _ in range(10)]
    assert grown[:3] == [0.1, 0.2, 0.4]
    assert grown[-1] == 10
    assert pauses.next_s(lived_s=1000) == 0.1


# The port


def listening(port: int, *, shared: bool) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104 - what is to be tested
def test_a_reserved_port_refuses_until_workers_listen_together(host: str) -> None:
    with reserve_port(host, 0) as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with listening(port, shared=True), listening(port, shared=True):
            socket.create_connection(("127.0.0.1", port)).close()
    with reserve_port(host, port) as again:  # what the connection has left behind is no hindrance
        assert again == port


def test_a_port_is_reserved_once() -> None:
    with (
        reserve_port("127.0.0.1", 0) as port,
        pytest.raises(StartError, match=rf"port: cannot listen on 127.0.0.1:{port}; is the port taken\?"),
        reserve_port("127.0.0.1", port),
    ):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_another_server_listens_on_is_not_reserved(shared: bool) -> None:
    with (
        listening(0, shared=shared) as taken,
        pytest.raises(StartError, match="is the port taken"),
        reserve_port("127.0.0.1", taken.getsockname()[1]),
    ):
        pass


# The end of a process


@pytest.mark.parametrize(("code", "text"), [(1, "exit code 1"), (-9, "SIGKILL"), (-42, "signal 42")])
def test_every_end_of_a_process_can_be_said(code: int, text: str) -> None:
    assert describe_exit(code) == text
