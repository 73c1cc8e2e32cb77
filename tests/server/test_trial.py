"""Bundles that crash or hang onnxruntime: refused, and nobody else suffers."""

import asyncio
import contextlib
import errno
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from latentry_server.errors import BundleInvalidError
from latentry_server.repository.bundle import read_manifest
from latentry_server.repository.graphs import GraphOpener
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.trial import Trial
from latentry_server.spec import GraphRole

from tests.server.bundles import CODINGS_OUT, IMAGES_IN, Autoencoder, Bundle, images, turning_encoder
from tests.server.repositories import RUNTIME, open_repository, states, until


class Hanging(Autoencoder):
    """An encoder that would count to nine quintillions."""

    graphs: ClassVar = Autoencoder.graphs | turning_encoder("times = Constant<value = int64 {9000000000000000000}>()")


class Crashing(Autoencoder):
    """An encoder that divides the lowest whole number by -1: processors of x86 end the process."""

    graphs: ClassVar = Autoencoder.graphs | {
        "encoder": (
            (IMAGES_IN,),
            (CODINGS_OUT,),
            (
                "flat = Flatten(inputs) some = Gemm(flat, encode, encode_bias) none = Sub(some, some)"
                " zero = Cast<to = 7>(none)"
                " least = Constant<value = int64 {-9223372036854775808}>() minus = Constant<value = int64 {-1}>()"
                " low = Add(zero, least) one = Add(zero, minus) ratio = Div(low, one) codings = Cast<to = 1>(ratio)"
            ),
        )
    }


BAD = [
    pytest.param(
        Crashing(),
        "trying it ended a process: SIGFPE",
        marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors divide by -1"),
    ),
    pytest.param(Hanging(), "trying it took longer than 3 s", id="hanging"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
async def test_a_bundle_that_crashes_or_hangs_is_refused_and_the_others_are_served(
    tmp_path: Path, bad: Bundle, message: str
) -> None:
    Autoencoder(seed=1).write(tmp_path, "stacked")
    bad.write(tmp_path, "bad")
    async with open_repository(tmp_path, poll_interval_s=0.01, load_timeout_s=3) as repository:
        assert states(repository, "bad") == {1: "FAILED"}
        assert repository.status("bad").error == message
        await encode(repository)
        Autoencoder(seed=2).write(tmp_path, "stacked", 2)  # the next trial has a process, too
        await until(lambda: states(repository, "stacked") == {2: "READY", 1: "UNLOADED"})
        bad.write(tmp_path, "stacked", 3)
        await until(lambda: states(repository, "stacked").get(3) == "FAILED")
        assert await encode(repository) == 2


async def encode(repository: ModelRepository) -> int:
    with repository.lease("stacked") as model:
        await model.run(GraphRole.ENCODER, {"inputs": images(2)})
        return model.spec.version


async def test_a_server_that_stops_waits_for_no_trial(tmp_path: Path) -> None:
    async with open_repository(tmp_path, load_timeout_s=600) as repository:
        Hanging().write(tmp_path, "bad")
        loading = asyncio.create_task(repository.load("bad"))
        await until(lambda: states(repository, "bad") == {1: "LOADING"})
        await until(lambda: bool(children()))
        async with asyncio.timeout(60):
            await repository.close()
        with pytest.raises(BundleInvalidError, match=r"SIGKILL|the server is shutting down"):
            await loading


@pytest.fixture
def trial() -> Iterator[Trial]:
    made = Trial(GraphOpener(runtime=RUNTIME, max_batch_rows=4), timeout_s=60)
    yield made
    made.close()


def test_one_process_tries_many_bundles_and_a_new_one_comes_where_it_was_killed(tmp_path: Path, trial: Trial) -> None:
    folder = Autoencoder().write(tmp_path)
    manifest = read_manifest(folder)
    others = children()  # of other tests in this process
    trial.run(folder, manifest, tmp_path)
    first = children() - others
    trial.run(folder, manifest, tmp_path)
    assert children() - others == first
    (pid,) = first
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    trial.run(folder, manifest, tmp_path)  # what died idle is not held against the next bundle
    assert len(children() - others) == 1
    trial.close()
    assert children() - others == set()
    with pytest.raises(BundleInvalidError, match="the server is shutting down"):
        trial.run(folder, manifest, tmp_path)


def children() -> set[int]:
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            pids |= {int(pid) for pid in (task / "children").read_text().split()}
    return pids


@pytest.mark.parametrize("load_timeout_s", [None, 60])
async def test_where_the_disk_is_full_the_load_fails_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_timeout_s: float | None
) -> None:
    Autoencoder(seed=1).write(tmp_path, "stacked")
    async with open_repository(tmp_path, poll_interval_s=0.01, load_timeout_s=load_timeout_s) as repository:
        if load_timeout_s is None:
            monkeypatch.setattr("os.posix_fallocate", refuse_room)
        else:
            monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        Autoencoder(seed=2).write(tmp_path, "stacked", 2)
        await until(lambda: states(repository, "stacked").get(2) == "FAILED")
        assert await encode(repository) == 1
        await until(lambda: "loading failed: " in repository.status("stacked", 2).error)
        monkeypatch.undo()
        await until(lambda: states(repository, "stacked") == {2: "READY", 1: "UNLOADED"})


def refuse_room(*_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_from_a_broken_bundle_across_processes(tmp_path: Path, trial: Trial) -> None:
    folder = Autoencoder().write(tmp_path)
    with pytest.raises(OSError, match="No such file or directory"):
        trial.run(folder, read_manifest(folder), tmp_path / "nowhere")
