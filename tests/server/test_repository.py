import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from latentry_server.errors import (
    BundleInvalidError,
    ModelNotFoundError,
    ModelNotReadyError,
    VersionNotFoundError,
    VersionNotLoadedError,
)
from latentry_server.repository.local_store import LocalStore
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.store import Fingerprint
from latentry_server.repository.version import ModelState
from latentry_server.spec import GraphRole
from prometheus_client import CollectorRegistry

from tests.server.bundles import Autoencoder, Gan, images
from tests.server.repositories import HookedRuntime, open_repository, states, until

POLL_S = 0.01


async def encode(repository: ModelRepository, version: int = 0, rows: int = 2) -> np.ndarray:
    with repository.lease("stacked", version) as model:
        ran = await model.run(GraphRole.ENCODER, {"inputs": images(rows)})
        np.testing.assert_allclose(
            ran.outputs["codings"], Autoencoder(seed=model.spec.version).encode(images(rows)), atol=1e-6
        )
    return ran.outputs["codings"]


def publish(folder: Path, *versions: int) -> None:
    """Write versions whose weights are seeded with their number, so that an answer shows who gave it."""
    for version in versions:
        Autoencoder(seed=version).write(folder, "stacked", version)


def model_folder(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


async def answering(repository: ModelRepository) -> int:
    with repository.lease("stacked") as model:
        return model.spec.version


async def test_the_newest_version_of_every_model_is_loaded_and_all_are_listed(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2, 10)
    Gan().write(tmp_path, "a-gan")
    async with open_repository(tmp_path) as repository:
        found = [(status.name, status.version, status.state) for status in repository.statuses()]
        assert found == [
            ("a-gan", 1, ModelState.READY),
            ("stacked", 10, ModelState.READY),
            ("stacked", 2, ModelState.UNLOADED),
            ("stacked", 1, ModelState.UNLOADED),
        ]
        manifests = [status.manifest for status in repository.statuses()]
        assert [manifest.version for manifest in manifests if manifest] == [1, 10, 2, 1]
        assert repository.status("stacked").version == 10
        assert repository.status("stacked", 2).state is ModelState.UNLOADED
        await encode(repository)


async def test_what_is_not_there_or_not_ready_is_told_apart(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    async with open_repository(tmp_path) as repository:
        for name, version, error in (
            ("nobody", 0, ModelNotFoundError),
            ("nobody", 1, ModelNotFoundError),
            ("stacked", 3, VersionNotFoundError),
        ):
            with pytest.raises(error), repository.lease(name, version):
                pass
            with pytest.raises(error):
                repository.status(name, version)
            with pytest.raises(error):
                await repository.load(name, version)
            with pytest.raises(error):
                await repository.unload(name, version)
        with pytest.raises(ModelNotReadyError, match="version 1 is unloaded"), repository.lease("stacked", 1):
            pass
        with pytest.raises(VersionNotFoundError):
            await repository.unload("stacked", 1)


async def test_hidden_folders_and_other_names_are_no_versions(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    for name in (".publish-2", "latest", "02", "-3", "0"):
        shutil.copytree(tmp_path / "stacked" / "1", tmp_path / "stacked" / name)
    shutil.copytree(tmp_path / "stacked", tmp_path / ".hidden")
    (tmp_path / "README").write_text("not a model")
    async with open_repository(tmp_path) as repository:
        assert [(status.name, status.version) for status in repository.statuses()] == [("stacked", 1)]


async def test_a_folder_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="repository: expected a readable folder"):
        async with open_repository(tmp_path / "nowhere"):
            pass


async def test_polling_takes_up_a_new_version_and_retires_the_old_one(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        await encode(repository)
        publish(tmp_path, 2)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})
        assert await answering(repository) == 2
        await encode(repository)


async def test_no_answer_fails_while_versions_come_and_go(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    seen = set()
    done = False

    async def ask(repository: ModelRepository) -> None:
        while not done:
            seen.add(await answering(repository))
            await encode(repository)  # checks the answer against the weights of the version that gave it

    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        callers = [asyncio.create_task(ask(repository)) for _ in range(8)]
        for version in (2, 3, 4):
            publish(tmp_path, version)
            await until(lambda newest=version: states(repository).get(newest) == "READY")  # type: ignore[misc]
            await until(lambda newest=version: newest in seen)  # type: ignore[misc]
        shutil.rmtree(tmp_path / "stacked" / "4")
        await until(lambda: 4 not in states(repository))
        done = True
        await asyncio.gather(*callers)
        assert seen == {1, 2, 3, 4}
        assert await answering(repository) == 3


async def test_a_broken_new_version_leaves_the_old_one_serving_until_it_is_mended(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        Autoencoder(seed=2).write(tmp_path, "elsewhere", 2)
        content = (tmp_path / "elsewhere" / "2" / "encoder.onnx").read_bytes()
        (tmp_path / "elsewhere" / "2" / "encoder.onnx").unlink()
        text = (tmp_path / "elsewhere" / "2" / "manifest.json").read_text().replace("elsewhere", "stacked")
        (tmp_path / "elsewhere" / "2" / "manifest.json").write_text(text)
        (tmp_path / "elsewhere" / "2").rename(tmp_path / "stacked" / "2")
        await until(lambda: states(repository) == {2: "FAILED", 1: "READY"})
        assert await answering(repository) == 1
        with pytest.raises(BundleInvalidError, match=r"version 2: encoder\.onnx: the file is missing"):
            await repository.load("stacked", 2)
        await encode(repository)
        (tmp_path / "stacked" / "2" / "encoder.onnx").write_bytes(content)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})
        assert repository.status("stacked").error == ""
        await encode(repository)


async def test_a_broken_version_is_not_tried_again_before_it_changes(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    (tmp_path / "stacked" / "2" / "encoder.onnx").unlink()
    registry = CollectorRegistry()
    async with open_repository(tmp_path, poll_interval_s=POLL_S, registry=registry) as repository:
        await asyncio.sleep(20 * POLL_S)
        assert states(repository) == {2: "FAILED", 1: "READY"}
        failures = {"model": "stacked", "result": "failure"}
        assert registry.get_sample_value("latentry_model_loads_total", failures) == 1
        assert registry.get_sample_value("latentry_model_loaded", {"model": "stacked", "version": "1"}) == 1


async def test_what_is_deleted_is_unloaded_after_the_one_before_it_is_ready(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    Gan().write(tmp_path, "gan")
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        changes: list[tuple[str, int, str]] = []
        repository.subscribe(lambda name, version, state: changes.append((name, version, str(state))))
        shutil.rmtree(tmp_path / "stacked" / "2")
        await until(lambda: states(repository) == {1: "READY"})
        assert changes == [
            ("stacked", 1, "LOADING"),
            ("stacked", 1, "READY"),
            ("stacked", 2, "UNLOADING"),
            ("stacked", 2, "UNLOADED"),
        ]
        shutil.rmtree(tmp_path / "gan")
        await until(lambda: states(repository, "gan") == {})
        with pytest.raises(ModelNotFoundError), repository.lease("gan"):
            pass


async def test_a_repository_that_cannot_be_listed_keeps_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "repository"
    publish(folder, 1)
    async with open_repository(folder, poll_interval_s=POLL_S) as repository:
        folder.rename(tmp_path / "away")
        await until(lambda: "cannot be listed: No such file or directory" in caplog.text)
        await encode(repository)
        with pytest.raises(ModelNotReadyError, match="the repository cannot be listed: No such file or directory"):
            await repository.load("stacked")
        (tmp_path / "away").rename(folder)
        publish(folder, 2)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})


async def test_unload_waits_for_the_requests_in_flight(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path) as repository:
        with repository.lease("stacked") as model:
            unloading = asyncio.create_task(repository.unload("stacked"))
            await until(lambda: states(repository) == {1: "UNLOADING"})
            with pytest.raises(ModelNotReadyError, match="unloading"), repository.lease("stacked"):
                pass
            ran = await model.run(GraphRole.ENCODER, {"inputs": images(3)})
            assert len(ran.outputs["codings"]) == 3
            assert not unloading.done()
        assert [(status.version, status.state) for status in await unloading] == [(1, ModelState.UNLOADED)]


async def test_what_was_unloaded_stays_so_until_it_is_loaded(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        await repository.unload("stacked", 2)
        await asyncio.sleep(20 * POLL_S)
        assert states(repository) == {2: "UNLOADED", 1: "UNLOADED"}
        status = await repository.load("stacked", 2)
        assert (status.version, status.state) == (2, ModelState.READY)
        await encode(repository)
        publish(tmp_path, 3)
        await until(lambda: states(repository).get(3) == "READY")


async def test_what_is_unloaded_as_its_next_version_is_about_to_be_loaded_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, 1)
    looking, gate = threading.Event(), threading.Event()
    fingerprint = LocalStore.fingerprint

    def slow_fingerprint(store: LocalStore, name: str, number: int) -> Fingerprint:
        if number == 2:
            looking.set()
            gate.wait(60)
        return fingerprint(store, name, number)

    monkeypatch.setattr(LocalStore, "fingerprint", slow_fingerprint)
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        publish(tmp_path, 2)
        await asyncio.to_thread(looking.wait, 60)
        await repository.unload("stacked")
        gate.set()
        await asyncio.sleep(20 * POLL_S)
        assert states(repository) == {2: "UNLOADED", 1: "UNLOADED"}


async def test_an_older_version_serves_beside_the_newest_where_it_was_asked_for(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        await repository.load("stacked", 1)
        publish(tmp_path, 3)
        await until(lambda: states(repository) == {3: "READY", 2: "UNLOADED", 1: "READY"})
        await encode(repository, version=1)
        await encode(repository, version=3)
        unloaded = await repository.unload("stacked")
        assert [status.version for status in unloaded] == [3, 1]
        await asyncio.sleep(20 * POLL_S)
        assert set(states(repository).values()) == {"UNLOADED"}


async def test_load_finds_a_version_that_nobody_has_looked_for(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path) as repository:
        publish(tmp_path, 2)
        status = await repository.load("stacked")
        assert (status.version, status.state) == (2, ModelState.READY)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})
        again = await repository.load("stacked")
        assert again.state is ModelState.READY


async def test_a_load_goes_on_where_its_caller_is_cancelled(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    gate = threading.Event()

    gate.set()
    async with open_repository(tmp_path, runtime=HookedRuntime(lambda: gate.wait(60))) as repository:
        publish(tmp_path, 2)
        gate.clear()
        loading = asyncio.create_task(repository.load("stacked", 2))
        await until(lambda: states(repository).get(2) == "LOADING")
        await encode(repository, version=1)
        with pytest.raises(ModelNotReadyError, match="loading"), repository.lease("stacked", 2):
            pass
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        gate.set()
        await until(lambda: states(repository).get(2) == "READY")
        await encode(repository, version=2)


async def test_concurrent_loads_of_a_version_load_it_once(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    registry = CollectorRegistry()
    async with open_repository(tmp_path, registry=registry) as repository:
        statuses = await asyncio.gather(*(repository.load("stacked", 1) for _ in range(5)))
        assert {status.state for status in statuses} == {ModelState.READY}
    loads = {"model": "stacked", "result": "success"}
    assert registry.get_sample_value("latentry_model_loads_total", loads) == 2
    assert registry.get_sample_value("latentry_model_loaded", {"model": "stacked", "version": "1"}) == 0


async def test_close_answers_the_requests_in_flight(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path) as repository:
        waiting = [asyncio.create_task(encode(repository, rows=rows)) for rows in range(1, 40)]
        await asyncio.sleep(0)
        await repository.close()
        answers = await asyncio.gather(*waiting)
        assert [len(answer) for answer in answers] == list(range(1, 40))
        with pytest.raises(ModelNotReadyError), repository.lease("stacked"):
            pass


async def test_a_model_that_cannot_be_listed_keeps_serving_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        iterdir = Path.iterdir

        def refuse_stacked(folder: Path) -> Iterator[Path]:  # root, as whom tests may run, is refused nothing
            if folder.name == "stacked":
                raise PermissionError(errno.EACCES, "Permission denied")
            return iterdir(folder)

        monkeypatch.setattr(Path, "iterdir", refuse_stacked)
        Gan().write(tmp_path, "gan")
        await until(lambda: states(repository, "gan") == {1: "READY"})
        await encode(repository)


async def test_a_folder_whose_name_is_no_text_is_no_model(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    publish(tmp_path, 2)
    (tmp_path / "stacked" / "2").rename(model_folder(tmp_path, os.fsdecode(b"\xff")) / "2")
    async with open_repository(tmp_path) as repository:
        assert [status.name for status in repository.statuses()] == ["stacked"]


async def test_a_version_that_is_published_again_while_it_goes_is_the_one_that_answers(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    opened: list[None] = []
    counting = HookedRuntime(lambda: opened.append(None))
    async with open_repository(tmp_path, poll_interval_s=POLL_S, runtime=counting) as repository:
        with repository.lease("stacked"):
            (tmp_path / "stacked" / "1").rename(tmp_path / ".away")
            await until(lambda: states(repository) == {1: "UNLOADING"})
            (tmp_path / ".away").rename(tmp_path / "stacked" / "1")
            loading = asyncio.ensure_future(repository.load("stacked", 1))
            await asyncio.sleep(10 * POLL_S)
        assert (await loading).state is ModelState.READY
        await asyncio.sleep(10 * POLL_S)
        await encode(repository)
        assert len(opened) == 2 * len(Autoencoder.graphs)  # once before and once after: no copy that nobody frees


async def test_a_broken_version_with_a_dangling_link_is_tried_again_once_it_changes(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    folder = tmp_path / "stacked" / "1"
    good = (folder / "encoder.onnx").read_bytes()
    (folder / "encoder.onnx").write_bytes(b"broken")
    (folder / "notes").symlink_to("nowhere")
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        assert states(repository) == {1: "FAILED"}
        (folder / "encoder.onnx").write_bytes(good)
        await until(lambda: states(repository) == {1: "READY"})


async def test_unloading_what_is_not_loaded_says_so(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    async with open_repository(tmp_path) as repository:
        with pytest.raises(VersionNotLoadedError, match="'stacked' does not have version 1 loaded"):
            await repository.unload("stacked", 1)
        await repository.unload("stacked")
        with pytest.raises(VersionNotLoadedError, match="'stacked' does not have any version loaded"):
            await repository.unload("stacked")


async def test_a_model_that_is_forgotten_while_others_are_looked_at_holds_up_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, 1)
    Gan().write(tmp_path, "a-gan")
    gate = threading.Event()

    gate.set()
    waiting = HookedRuntime(lambda: gate.wait(60))
    async with open_repository(tmp_path, poll_interval_s=POLL_S, runtime=waiting) as repository:
        gate.clear()
        with repository.lease("stacked"):
            shutil.rmtree(tmp_path / "stacked")
            await until(lambda: states(repository) == {1: "UNLOADING"})
            Gan().write(tmp_path, "a-gan", 2)
            await until(lambda: states(repository, "a-gan").get(2) == "LOADING")
        await until(lambda: states(repository) == {})  # in the middle of a look at the folder
        gate.set()
        await until(lambda: states(repository, "a-gan").get(2) == "READY")
        await asyncio.sleep(10 * POLL_S)
    assert "looking into" not in caplog.text


async def test_only_what_is_selected_is_loaded_and_the_rest_can_be_asked_for(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    Gan().write(tmp_path, "gan")
    async with open_repository(tmp_path, models="gan", poll_interval_s=POLL_S) as repository:
        assert (states(repository, "gan"), states(repository)) == ({1: "READY"}, {2: "UNLOADED", 1: "UNLOADED"})
        await repository.load("stacked")
        assert await answering(repository) == 2
        publish(tmp_path, 3)
        Gan().write(tmp_path, "gan", 2)
        await until(lambda: states(repository, "gan") == {2: "READY", 1: "UNLOADED"})
        assert states(repository) == {3: "UNLOADED", 2: "READY", 1: "UNLOADED"}, "who was not selected does not move"
        await repository.load("stacked")
        await until(lambda: states(repository) == {3: "READY", 2: "UNLOADED", 1: "UNLOADED"})


async def test_nothing_is_loaded_before_it_is_asked_for_where_nothing_is_selected(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    async with open_repository(tmp_path, models="", poll_interval_s=POLL_S) as repository:
        await asyncio.sleep(10 * POLL_S)
        assert states(repository) == {1: "UNLOADED"}
        await repository.load("stacked", 1)
        await encode(repository)


async def test_a_pinned_version_stays_whatever_is_published(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    async with open_repository(tmp_path, models="stacked/1", poll_interval_s=POLL_S) as repository:
        assert states(repository) == {2: "UNLOADED", 1: "READY"}
        publish(tmp_path, 3)
        await until(lambda: 3 in states(repository))
        await asyncio.sleep(10 * POLL_S)
        assert states(repository) == {3: "UNLOADED", 2: "UNLOADED", 1: "READY"}
        assert await answering(repository) == 1
        await repository.unload("stacked", 1)
        await asyncio.sleep(10 * POLL_S)
        assert states(repository)[1] == "UNLOADED"


async def test_a_pinned_version_is_served_beside_the_newest_and_loaded_when_it_comes(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    async with open_repository(tmp_path, models="*,stacked/1,stacked/4", poll_interval_s=POLL_S) as repository:
        assert states(repository) == {2: "READY", 1: "READY"}
        publish(tmp_path, 4, 5)
        await until(lambda: states(repository) == {5: "READY", 4: "READY", 2: "UNLOADED", 1: "READY"})
        await encode(repository, version=1)
        assert await answering(repository) == 5


async def test_the_metrics_of_a_version_go_with_it(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    registry = CollectorRegistry()

    def versions() -> set[str]:
        samples = (sample for metric in registry.collect() for sample in metric.samples)
        return {sample.labels["version"] for sample in samples if "version" in sample.labels}

    async with open_repository(tmp_path, poll_interval_s=POLL_S, registry=registry) as repository:
        await encode(repository)
        publish(tmp_path, 2)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})
        assert versions() == {"1", "2"}
        shutil.rmtree(tmp_path / "stacked" / "1")
        await until(lambda: states(repository) == {2: "READY"})
        assert versions() == {"2"}


async def test_a_repository_that_is_emptied_answers_what_it_has_taken_and_comes_back(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    Gan().write(tmp_path, "gan")
    async with open_repository(tmp_path, poll_interval_s=POLL_S) as repository:
        with repository.lease("stacked") as model:
            for name in ("stacked", "gan"):
                shutil.rmtree(tmp_path / name)
            await until(lambda: states(repository) == {2: "UNLOADING"} and not states(repository, "gan"))
            ran = await model.run(GraphRole.ENCODER, {"inputs": images(2)})
            np.testing.assert_allclose(ran.outputs["codings"], Autoencoder(seed=2).encode(images(2)), atol=1e-6)
        await until(lambda: repository.statuses() == [])
        with pytest.raises(ModelNotFoundError), repository.lease("stacked"):
            pass
        publish(tmp_path, 2)
        await until(lambda: states(repository) == {2: "READY"})
        await encode(repository)
