"""Writing files so that a kill, a full disk or a power cut leaves a whole one."""

import os
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Writes a file and forces it to the disk.

    Raises:
        OSError: It could not be written; the error names the file, which a full disk's own error does not.
    """
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace(path: Path, content: bytes) -> None:
    """Replaces a file in one step: where that fails, the old one is as it was.

    Raises:
        OSError: The file could not be written.
    """
    beside = path.with_suffix(".partial")
    try:
        write(beside, content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Forces a folder's entries to the disk: what was made, renamed or removed in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
