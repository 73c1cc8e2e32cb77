"""Atomic publishing: whole versions only, whoever is killed, whoever else publishes, however full the disk is."""

import hashlib
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from latentry_trainer.export.repository import add_version, check_model_name

# Publishes versions of three files until it is killed; the manifest holds their hashes.
PUBLISHER = """
import hashlib, json, os, sys
from pathlib import Path
from latentry_trainer.export.repository import add_version

repository, count = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for _ in range(count):
    files = {f"graph{i}.onnx": os.urandom(200_000) for i in range(3)}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    add_version(repository, "model", files, lambda version: json.dumps({"version": version, **hashes}).encode())
"""


def start_publisher(repository: Path, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PUBLISHER, str(repository), str(count)], stdout=subprocess.PIPE)


def whole_versions(repository: Path) -> list[int]:
    """The versions, each checked to be complete."""
    versions = sorted(int(folder.name) for folder in (repository / "model").glob("[0-9]*"))
    for version in versions:
        folder = repository / "model" / str(version)
        manifest = json.loads((folder / "manifest.json").read_bytes())
        assert manifest.pop("version") == version
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.onnx")}
        assert hashes == manifest
    return versions


def leftovers(repository: Path) -> list[Path]:
    return list((repository / "model").glob(".*"))


def add(repository: Path, content: bytes = b"graph") -> Path:
    return add_version(repository, "model", {"decoder.onnx": content}, lambda version: b"%d" % version)


def test_versions_count_from_one_and_hold_the_files(tmp_path: Path) -> None:
    first, second = add(tmp_path, b"a"), add(tmp_path, b"b")
    assert (first, second) == (tmp_path / "model/1", tmp_path / "model/2")
    assert {path.name: path.read_bytes() for path in second.iterdir()} == {"decoder.onnx": b"b", "manifest.json": b"2"}
    assert (first / "decoder.onnx").read_bytes() == b"a"


def test_the_next_version_is_above_the_highest_even_where_some_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "model/10").mkdir(parents=True)
    (tmp_path / "model/9").write_text("a file")
    assert add(tmp_path).name == "11"


def test_another_user_can_read_the_version_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        folder = add(tmp_path / "new" / "repository")
    finally:
        os.umask(umask)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [*folder.iterdir(), folder, *list(folder.parents)[:2]]
    }
    assert modes == {"decoder.onnx": 0o644, "manifest.json": 0o644, "1": 0o755, "model": 0o755, "repository": 0o755}


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../a", "Upper", "-a", "a" * 64, "a b", "a\n", "ü"])
def test_names_that_are_no_model_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model name .* expected 1 to 63"):
        add_version(tmp_path / "repository", name, {}, lambda _: b"")
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("name", ["a", "0", "stacked-quick", "my_model.v2", "a" * 63])
def test_model_names(name: str) -> None:
    assert check_model_name(name) == name


def test_publishers_at_once_get_a_version_each(tmp_path: Path) -> None:
    with ExitStack() as stack:
        publishers = [stack.enter_context(start_publisher(tmp_path, 20)) for _ in range(3)]
        assert [publisher.wait() for publisher in publishers] == [0, 0, 0]
    assert whole_versions(tmp_path) == list(range(1, 61))
    assert leftovers(tmp_path) == []


def test_a_version_that_comes_up_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def manifest(version: int) -> bytes:
        if version == 1:  # another publisher is a moment faster
            (tmp_path / "model/1").mkdir()
            (tmp_path / "model/1/manifest.json").write_bytes(b"theirs")
        return b"%d" % version

    folder = add_version(tmp_path, "model", {}, manifest)
    assert (folder.name, (folder / "manifest.json").read_bytes()) == ("2", b"2")
    assert (tmp_path / "model/1/manifest.json").read_bytes() == b"theirs"


def test_a_publisher_killed_anywhere_leaves_whole_versions(tmp_path: Path) -> None:
    delays = random.Random(7)
    killed_inside = 0
    for _ in range(12):
        with start_publisher(tmp_path, 1_000_000) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == b"ready\n"
            time.sleep(delays.uniform(0.0, 0.05))
            publisher.send_signal(signal.SIGKILL)
        assert publisher.returncode == -signal.SIGKILL
        whole_versions(tmp_path)
        killed_inside = len(leftovers(tmp_path))
    assert killed_inside > 0, "no kill fell into a publish: the test has shown nothing"
    before = whole_versions(tmp_path)
    assert add(tmp_path).name == str(len(before) + 1)


def test_old_leftovers_are_removed_and_fresh_ones_are_not(tmp_path: Path) -> None:
    old, fresh = tmp_path / "model/.publish-old", tmp_path / "model/.publish-fresh"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "decoder.onnx").write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 60 * 60
    os.utime(old, (two_days_ago, two_days_ago))
    add(tmp_path)
    assert leftovers(tmp_path) == [fresh]


def test_a_write_that_fails_half_way_leaves_the_repository_as_it_was(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: it fails a write after its first bytes, too."""
    add(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*decoder\.onnx"):
            add(tmp_path, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["1"]
    assert add(tmp_path).name == "2"
