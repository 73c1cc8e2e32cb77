"""A repository in a folder."""

import logging
from collections.abc import Iterator
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_server.repository import bundle
from latentry_server.repository.names import is_model_name, version_number
from latentry_server.repository.store import Fingerprint, StoreError

logger = logging.getLogger(__name__)


class LocalStore:
    """A `Store` in the folders `<model>/<version>/` of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def versions(self) -> dict[str, list[int] | None]:
        """List every model's versions; see `Store.versions`."""
        try:
            return {model.name: _versions(model) for model in _folders(self._folder) if is_model_name(model.name)}
        except OSError as error:
            raise StoreError(error.strerror) from error

    def has(self, model: str, version: int) -> bool:
        """Tell whether the folder is there."""
        return self._version(model, version).is_dir()

    def fingerprint(self, model: str, version: int) -> Fingerprint:
        """Name, time and size of every file, of a link its own, wherever it leads."""
        try:
            found = [(path.name, path.lstat()) for path in self._version(model, version).iterdir()]
        except OSError:
            return ()
        return tuple(sorted((name, file.st_mtime_ns, file.st_size) for name, file in found))

    def read_manifest(self, model: str, version: int) -> manifest_pb2.Manifest:
        """Read a version's manifest; see `Store.read_manifest`."""
        return bundle.read_manifest(self._version(model, version))

    def fetch(self, model: str, version: int, manifest: manifest_pb2.Manifest) -> Path:  # noqa: ARG002 - a Store's
        """Return the version's own folder."""
        return self._version(model, version)

    def _version(self, model: str, version: int) -> Path:
        return self._folder / model / str(version)


def _versions(model: Path) -> list[int] | None:
    try:
        return [number for folder in _folders(model) if (number := version_number(folder.name))]
    except FileNotFoundError:  # deleted since the repository was listed
        return []
    except OSError as error:
        logger.warning("model %r cannot be listed: %s", model.name, error.strerror)
        return None


def _folders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir())
