"""Folders for temporary files: whose are deleted, and when."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from latentry_server.scratch import scratch_folder

HOLD = """
from latentry_server.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "weights").write_bytes(bytes(100))
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def hold() -> tuple[subprocess.Popen[str], Path]:
    """Start a process that uses a folder until it is told to end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_deleted_and_what_is_in_use_stays(tmp_path: Path) -> None:
    living, used = hold()
    killed, left = hold()
    with living, killed:
        killed.kill()
        killed.wait()
        assert left.is_dir()
        with scratch_folder() as own, scratch_folder() as other:
            assert set(tmp_path.iterdir()) == {used, own, other}
        assert (used / "weights").is_file()
        living.communicate("\n", timeout=60)
    assert not list(tmp_path.iterdir())


def test_links_and_what_is_another_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latentry-scratch-others").mkdir()
    (tmp_path / "victim").mkdir()
    (tmp_path / "latentry-scratch-link").symlink_to(tmp_path / "victim")
    before = set(tmp_path.iterdir())
    with monkeypatch.context() as another_user:
        another_user.setattr("os.geteuid", lambda: os.getuid() + 1)
        with scratch_folder():
            pass
    assert set(tmp_path.iterdir()) == before
    with scratch_folder():
        pass
    assert before - set(tmp_path.iterdir()) == {tmp_path / "latentry-scratch-others"}
