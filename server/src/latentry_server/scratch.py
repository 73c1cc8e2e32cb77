"""Folders for temporary files that do not outlive their process for long, however it ends."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

_PREFIX, _NEW = "latentry-scratch-", ".latentry-scratch-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder among temporary files, once those that killed processes of this user left are deleted.

    Who uses a folder holds a lock on it, which the system takes away with the process: process numbers would not do,
    since containers may share a folder and have the same ones.

    Raises:
        OSError: there can be none.
    """
    _delete_left()
    made = Path(mkdtemp(prefix=_NEW))
    lock = os.open(made, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: nobody deletes what is left there
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(_PREFIX + made.name.removeprefix(_NEW)))  # to be found once it is locked
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _delete_left() -> None:
    for folder in Path(gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is in use, another user's, a link, or has just gone
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
