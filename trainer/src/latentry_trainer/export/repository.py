"""Atomic publishing: the repository holds whole versions only, whoever is killed and whoever else publishes."""

import contextlib
import errno
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from latentry_trainer.files import sync_folder, write

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TEMPORARY_PREFIX = ".publish-"
# Writing takes seconds; whatever is this old was left by a publisher that was killed.
_LEFTOVER_AGE_S = 24 * 60 * 60


def check_model_name(name: str) -> str:
    """Returns the name, or raises ValueError where it cannot be a model's: it becomes a folder."""
    if not _MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"model name {name!r}: expected 1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit"
        )
    return name


def add_version(
    repository: Path, model_name: str, files: Mapping[str, bytes], manifest: Callable[[int], bytes]
) -> Path:
    """Writes a new version `<repository>/<model_name>/<version>` and returns its folder.

    Everything is written into a hidden folder beside the versions, forced to the disk and then renamed, which either
    happens or does not. An existing version is never touched: of several publishers at once, each gets its own number.

    Args:
        repository: Made where it does not exist.
        model_name: See `check_model_name`.
        files: The bundle's files but the manifest, by name.
        manifest: Gives `manifest.json` for a version.

    Raises:
        ValueError: The model's name is not one.
        OSError: The disk is full, or the folder cannot be written; the repository is as it was.
    """
    model_folder = repository / check_model_name(model_name)
    _make_folder(repository)
    _make_folder(model_folder)
    _remove_leftovers(model_folder)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=model_folder))
    try:
        temporary.chmod(0o755)
        for name, content in files.items():
            _write(temporary / name, content)
        while True:
            version = _next_version(model_folder)
            _write(temporary / "manifest.json", manifest(version))
            sync_folder(temporary)
            try:
                temporary.rename(model_folder / str(version))
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            else:  # Another publisher's version would not have been replaced: a folder with files in it is not.
                break
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(model_folder)
    return model_folder / str(version)


def _next_version(model_folder: Path) -> int:
    return 1 + max(
        (int(path.name) for path in model_folder.iterdir() if re.fullmatch("[0-9]{1,9}", path.name)), default=0
    )


def _write(path: Path, content: bytes) -> None:
    path.touch()
    path.chmod(0o644)  # the server may run as another user
    write(path, content)


def _make_folder(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(0o755)
        sync_folder(path.parent)


def _remove_leftovers(model_folder: Path) -> None:
    for path in model_folder.glob(f"{_TEMPORARY_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LEFTOVER_AGE_S:
                shutil.rmtree(path, ignore_errors=True)
