"""A repository behind a URL, here in memory and in files: what is fetched, refused, kept and thrown away."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from latentry_server.errors import BundleInvalidError, StartError
from latentry_server.repository.bundle import MAX_GRAPH_BYTES, MAX_MANIFEST_BYTES
from latentry_server.repository.remote_store import RemoteStore
from latentry_server.repository.store import StoreError
from latentry_server.repository.stores import open_store

from tests.server.bundles import Autoencoder
from tests.server.repositories import open_repository, states, until

URL = "memory://bucket/models"


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    yield fsspec.filesystem("memory")
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def store(tmp_path: Path) -> RemoteStore:
    return RemoteStore(URL, cache=tmp_path / "cache", max_cache_bytes=1 << 30)


def publish(folder: Path, *versions: int) -> None:
    """Write versions, as a trainer does, and send them."""
    for version in versions:
        made = Autoencoder(seed=version).write(folder, "stacked", version)
        fsspec.filesystem("memory").put(str(made), f"/bucket/models/stacked/{version}", recursive=True)


def fetch(store: RemoteStore, version: int) -> Path:
    store.versions()
    return store.fetch("stacked", version, store.read_manifest("stacked", version))


def cached(tmp_path: Path) -> set[str]:
    return {file.name for file in (tmp_path / "cache").glob("*/stacked/*")}


async def test_versions_come_and_go_behind_a_url(tmp_path: Path, store: RemoteStore, memory: Any) -> None:
    publish(tmp_path, 1)
    async with open_repository(store, poll_interval_s=0.01) as repository:
        assert states(repository) == {1: "READY"}
        publish(tmp_path, 2)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})
        memory.rm("/bucket/models/stacked/2", recursive=True)
        await until(lambda: states(repository) == {1: "READY"})


async def test_a_broken_download_leaves_the_good_version_and_is_tried_again(
    tmp_path: Path, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, 1)
    async with open_repository(store, poll_interval_s=0.01) as repository:
        original, broken = MemoryFileSystem._open, True

        def fail(self: Any, path: str, **kwargs: Any) -> Any:
            if broken and kwargs["mode"] == "rb" and path.endswith("decoder.onnx"):
                raise TimeoutError("the line is dead")
            return original(self, path, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, "_open", fail)
        publish(tmp_path, 2)
        await until(lambda: states(repository) == {2: "FAILED", 1: "READY"})
        assert "loading failed: decoder.onnx: cannot be read: the line is dead" in repository.status("stacked", 2).error
        assert cached(tmp_path) == {"1"}
        broken = False
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})


async def test_a_repository_that_cannot_be_reached_keeps_serving(
    tmp_path: Path, store: RemoteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, 1)
    async with open_repository(store, poll_interval_s=0.01) as repository:
        with monkeypatch.context() as away:

            def fail(*_args: Any, **_kwargs: Any) -> None:
                raise ConnectionRefusedError("nobody there")

            away.setattr(MemoryFileSystem, "find", fail)
            await until(lambda: "memory:///bucket/models cannot be listed: nobody there" in caplog.text)
            assert states(repository) == {1: "READY"}
        publish(tmp_path, 2)
        await until(lambda: states(repository) == {2: "READY", 1: "UNLOADED"})


def test_what_is_in_the_cache_is_not_sent_again_unless_the_disk_has_changed_it(
    tmp_path: Path, store: RemoteStore, memory: Any
) -> None:
    publish(tmp_path, 1)
    folder = fetch(store, 1)
    manifest = store.read_manifest("stacked", 1)
    again = RemoteStore(URL, cache=tmp_path / "cache", max_cache_bytes=1 << 30)
    again.versions()
    content = memory.cat("/bucket/models/stacked/1/encoder.onnx")
    memory.pipe("/bucket/models/stacked/1/encoder.onnx", bytes(len(content)))  # would be refused
    assert again.fetch("stacked", 1, manifest) == folder
    (folder / "encoder.onnx").write_bytes(b"rotten")
    with pytest.raises(BundleInvalidError, match=r"encoder\.onnx: expected SHA-256"):
        again.fetch("stacked", 1, manifest)
    memory.pipe("/bucket/models/stacked/1/encoder.onnx", content)
    assert again.fetch("stacked", 1, manifest) == folder
    assert hashlib.sha256((folder / "encoder.onnx").read_bytes()).hexdigest() == manifest.graphs[0].sha256
    assert not list((tmp_path / "cache").glob("*/.fetch-*"))


def test_a_file_that_is_longer_than_it_was_said_to_be_is_not_read_to_its_end(
    tmp_path: Path, store: RemoteStore, memory: Any
) -> None:
    publish(tmp_path, 1)
    store.versions()
    manifest = store.read_manifest("stacked", 1)
    memory.pipe("/bucket/models/stacked/1/encoder.onnx", bytes(8 << 20))
    with pytest.raises(StoreError, match=r"encoder\.onnx: expected \d+ bytes, got 1048576"):
        store.fetch("stacked", 1, manifest)


def test_the_cache_keeps_what_was_used_last(tmp_path: Path, store: RemoteStore) -> None:
    publish(tmp_path, 1, 2, 3, 4)
    size = sum(file.stat().st_size for file in fetch(store, 1).iterdir())
    bounded = RemoteStore(URL, cache=tmp_path / "cache", max_cache_bytes=2 * size)
    long_ago_s = time.time() - 3600
    for number in (2, 3):
        os.utime(fetch(bounded, number), times=(long_ago_s, long_ago_s + number))
    os.utime(fetch(bounded, 1), times=(long_ago_s, long_ago_s + 9))
    fetch(bounded, 4)
    assert cached(tmp_path) == {"1", "4"}


def test_a_cache_of_no_size_keeps_what_is_being_loaded(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2)
    store = RemoteStore(URL, cache=tmp_path / "cache", max_cache_bytes=0)
    assert (fetch(store, 1) / "encoder.onnx").is_file()
    assert (fetch(store, 2) / "encoder.onnx").is_file()
    assert cached(tmp_path) == {"1", "2"}


def test_without_a_folder_the_cache_is_our_own_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    publish(tmp_path, 1)
    folder = fetch(RemoteStore(URL, cache=None, max_cache_bytes=0), 1)
    cache = tmp_path / f"latentry-cache-{os.getuid()}"
    assert folder.is_relative_to(cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert fetch(RemoteStore(URL, cache=None, max_cache_bytes=0), 1) == folder  # again, where it is there


@pytest.mark.parametrize("kind", ["link", "file", "another user's", "nowhere"])
def test_a_cache_of_that_name_that_is_not_our_own_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cache = tmp_path / f"latentry-cache-{os.getuid()}"
    (tmp_path / "victim").mkdir()
    match kind:
        case "link":
            cache.symlink_to(tmp_path / "victim")
        case "file":
            cache.touch()
        case "another user's":
            cache = tmp_path / f"latentry-cache-{os.getuid() + 1}"
            monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
        case "nowhere":
            monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    message = "No such file" if kind == "nowhere" else f"expected {cache} to be a folder of the server's own user"
    with pytest.raises(StartError, match=message):
        open_store(URL, cache=None, max_cache_bytes=0)
    assert not list((tmp_path / "victim").iterdir())


def test_what_another_process_is_about_to_delete_is_fetched_anew(
    tmp_path: Path, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, 1, 2)
    os.utime(fetch(store, 1), times=(0, 0))
    deleting, go_on = threading.Event(), threading.Event()
    delete = shutil.rmtree

    def delete_slowly(folder: Any, *args: Any, **kwargs: Any) -> None:
        if Path(folder).name == "1":
            deleting.set()
            assert go_on.wait(60)
        delete(folder, *args, **kwargs)

    monkeypatch.setattr("shutil.rmtree", delete_slowly)
    with ThreadPoolExecutor() as threads:
        other = threads.submit(fetch, RemoteStore(URL, cache=tmp_path / "cache", max_cache_bytes=0), 2)
        assert deleting.wait(60)
        fetched = threads.submit(fetch, store, 1)
        wait([fetched], timeout=0.5)  # who does not wait for the other is done by then
        go_on.set()
        assert (other.result() / "encoder.onnx").is_file()
        assert (fetched.result() / "encoder.onnx").is_file()


def test_processes_that_share_a_cache_download_each_version_once(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        Autoencoder(seed=version).write(tmp_path / "models", "stacked", version)
    (tmp_path / "cache" / hashlib.sha256(f"file://{tmp_path}/models".encode()).hexdigest()[:16] / ".fetch-left").mkdir(
        parents=True
    )
    fetch_all = (
        "import logging, sys; from pathlib import Path; logging.basicConfig(level='INFO')\n"
        "from latentry_server.repository.remote_store import RemoteStore\n"
        "store = RemoteStore(sys.argv[1], cache=Path(sys.argv[2]), max_cache_bytes=0)\n"
        "for version in store.versions()['stacked']:\n"
        "    folder = store.fetch('stacked', version, store.read_manifest('stacked', version))\n"
        "    assert (folder / 'encoder.onnx').is_file()\n"
    )
    command = [sys.executable, "-c", fetch_all, f"file://{tmp_path}/models", str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    logs = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], logs
    assert "".join(logs).count("fetched 'stacked'") == 3
    assert not list((tmp_path / "cache").glob("*/.fetch-*"))


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_repository(tmp_path: Path, store: RemoteStore) -> None:
    publish(tmp_path, 1)
    store.versions()
    manifest = store.read_manifest("stacked", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"^the cache cannot be written: File too large$"):
            store.fetch("stacked", 1, manifest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (store.fetch("stacked", 1, manifest) / "encoder.onnx").is_file()


@pytest.mark.parametrize("name", ["..", ".hidden", "../../escape", "a\\..\\b", "nul\0"])
def test_no_name_of_the_repository_leads_out_of_the_cache(
    tmp_path: Path, store: RemoteStore, memory: Any, name: str
) -> None:
    folder = Autoencoder().write(tmp_path, "stacked")
    text = (folder / "manifest.json").read_text().replace('"stacked"', '"' + name.replace("\\", "\\\\") + '"')
    before = set(tmp_path.rglob("*"))
    # Past MemoryFileSystem.pipe, which would resolve the dots: object stores take any key.
    for file in ("manifest.json", "encoder.onnx"):
        memory.pipe(f"/bucket/models/x/1/{file}", text.encode())
        key = f"/bucket/models/{name}/1/{file}"
        memory.store[key] = memory.store.pop(f"/bucket/models/x/1/{file}")
        memory.store[key].path = key
    for model in store.versions():
        with pytest.raises((BundleInvalidError, StoreError)):
            store.fetch(model, 1, store.read_manifest(model, 1))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("file", "limit"), [("manifest.json", MAX_MANIFEST_BYTES), ("encoder.onnx", MAX_GRAPH_BYTES)])
def test_what_is_too_large_is_not_asked_for(
    tmp_path: Path, store: RemoteStore, monkeypatch: pytest.MonkeyPatch, file: str, limit: int
) -> None:
    publish(tmp_path, 1)
    find = MemoryFileSystem.find

    def exaggerate(self: Any, *args: Any, **kwargs: Any) -> dict[str, dict[str, Any]]:
        found = find(self, *args, **kwargs)
        return {
            path: details | {"size": limit + 1} if path.endswith(file) else details for path, details in found.items()
        }

    monkeypatch.setattr(MemoryFileSystem, "find", exaggerate)
    with pytest.raises(BundleInvalidError, match=f"{file}: expected at most {limit} bytes, got {limit + 1}"):
        fetch(store, 1)


def test_what_is_missing_is_said(tmp_path: Path, store: RemoteStore, memory: Any) -> None:
    publish(tmp_path, 1)
    memory.rm("/bucket/models/stacked/1/encoder.onnx")
    with pytest.raises(BundleInvalidError, match=r"encoder\.onnx: the file is missing"):
        fetch(store, 1)
    memory.rm("/bucket/models/stacked/1/manifest.json")
    with pytest.raises(BundleInvalidError, match=r"manifest\.json: the file is missing"):
        fetch(store, 1)


def test_a_folder_can_be_a_url_too(tmp_path: Path) -> None:
    folder = Autoencoder(seed=1).write(tmp_path / "models", "stacked")
    store = open_store(f"file://{tmp_path}/models", cache=tmp_path / "cache", max_cache_bytes=1 << 30)
    assert str(store) == f"file://{tmp_path}/models"
    assert store.versions() == {"stacked": [1]}
    fetched = store.fetch("stacked", 1, store.read_manifest("stacked", 1))
    assert (fetched / "encoder.onnx").read_bytes() == (folder / "encoder.onnx").read_bytes()
    before = store.fingerprint("stacked", 1)
    (folder / "encoder.onnx").write_bytes(b"other")
    store.versions()
    assert store.fingerprint("stacked", 1) != before
