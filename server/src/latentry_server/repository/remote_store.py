"""A repository behind an fsspec URL, with a bounded cache of its graphs on this machine."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
from latentry.v1 import manifest_pb2

from latentry_server.errors import BundleInvalidError, one_line
from latentry_server.repository.bundle import MAX_GRAPH_BYTES, MAX_MANIFEST_BYTES
from latentry_server.repository.cache_folder import default_cache
from latentry_server.repository.manifest import model_spec, parse_manifest
from latentry_server.repository.names import is_model_name, version_number
from latentry_server.repository.store import Fingerprint, StoreError
from latentry_server.spec import GraphSpec

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_FETCHING = ".fetch-"
# What was fetched this lately is perhaps being loaded.
_IN_USE_S = 600.0

# Of a version's files, what the listing says: "size", and a time or tag that differs from kind to kind.
_Files = Mapping[str, Mapping[str, Any]]


class RemoteStore:
    """A `Store` of the files `<model>/<version>/*` below an fsspec URL.

    Graphs are downloaded beside the cache's folders, compared to the manifest's hashes, and renamed into place: what is
    in the cache is whole. Several processes may share a cache: one at a time changes it, and what it has downloaded the
    others need not.
    """

    def __init__(self, url: str, *, cache: Path | None, max_cache_bytes: int) -> None:
        """Take the URL, the cache's folder (None: one among temporary files), and the most bytes beside those in use.

        Raises:
            ValueError: fsspec does not know the URL's kind.
            ImportError: the URL's kind needs a package that is not installed.
            OSError: there can be no such folder.
            StartError: there can be none among temporary files.
        """
        self._system, root = fsspec.url_to_fs(url)
        self._root = root.rstrip("/")
        self._cache = (cache or default_cache()) / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._max_cache_bytes = max_cache_bytes
        self._listing: dict[tuple[str, int], _Files] = {}

    def __str__(self) -> str:
        return str(self._system.unstrip_protocol(self._root))  # without credentials that the URL may have

    def versions(self) -> dict[str, list[int] | None]:
        """List every model's versions; see `Store.versions`. A version is there once it has a file."""
        try:
            self._system.invalidate_cache()
            found = self._system.find(self._root, detail=True)
        except Exception as error:  # what fsspec's file systems raise has no common base
            raise StoreError(one_line(error)) from error
        listing: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
        for path, details in found.items():
            match path.removeprefix(self._root).lstrip("/").split("/"):
                case [model, version, file] if file and is_model_name(model) and (number := version_number(version)):
                    listing.setdefault((model, number), {})[file] = details
        self._listing = dict(listing)
        models: dict[str, list[int] | None] = {}
        for model, number in listing:
            models[model] = [*(models.get(model) or ()), number]
        return models

    def has(self, model: str, version: int) -> bool:
        """Tell whether the version was there when the repository was last listed."""
        return (model, version) in self._listing

    def fingerprint(self, model: str, version: int) -> Fingerprint:
        """What the last listing said of the version's files: size, time, tag."""
        files = self._listing.get((model, version), {})
        return tuple(sorted((name, repr(sorted(details.items()))) for name, details in files.items()))

    def read_manifest(self, model: str, version: int) -> manifest_pb2.Manifest:
        """Read a version's manifest; see `Store.read_manifest`."""
        path, size = self._find(model, version, "manifest.json", MAX_MANIFEST_BYTES)
        try:
            content = self._system.cat_file(path, start=0, end=size) if size else b""
        except Exception as error:
            raise _error("manifest.json", error) from error
        return parse_manifest(content)

    def fetch(self, model: str, version: int, manifest: manifest_pb2.Manifest) -> Path:
        """Download the graphs that are not in the cache; see `Store.fetch`."""
        folder = self._cache / model / str(version)
        graphs = model_spec(manifest, folder).graphs.values()  # no name in it leads out of the folder
        try:
            with self._alone():
                if not _is_whole(folder, graphs):
                    self._download(model, version, folder, graphs)
                os.utime(folder)  # in use from now on
                self._make_room()
        except OSError as error:  # without the path, since callers are told
            raise OSError(f"the cache cannot be written: {error.strerror}") from error
        return folder

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and processes from the cache meanwhile; who is killed keeps nobody from it."""
        with (self._cache / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _download(self, model: str, version: int, folder: Path, graphs: Collection[GraphSpec]) -> None:
        for left in self._cache.glob(f"{_FETCHING}*"):  # by a process that was killed
            shutil.rmtree(left)
        with TemporaryDirectory(prefix=_FETCHING, dir=self._cache) as temporary:
            made = Path(temporary) / "bundle"
            made.mkdir()
            for graph in graphs:
                path, size = self._find(model, version, graph.path.name, MAX_GRAPH_BYTES)
                self._download_file(path, size, made / graph.path.name, graph.sha256)
            if folder.exists():  # an older copy, or one that the disk has changed
                shutil.rmtree(folder)
            folder.parent.mkdir(exist_ok=True)
            made.rename(folder)
        logger.info("fetched %r version %d", model, version)

    def _download_file(self, path: str, size: int, target: Path, sha256: str) -> None:
        digest, received = hashlib.sha256(), 0
        with target.open("wb") as copy, contextlib.closing(self._read(path)) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                received += copy.write(chunk)
                if received > size:
                    break
        if received != size:
            raise StoreError(f"{target.name}: expected {size} bytes, got {received}")
        if digest.hexdigest() != sha256:
            raise BundleInvalidError(f"{target.name}: expected SHA-256 {sha256}, got {digest.hexdigest()}")

    def _read(self, path: str) -> Generator[bytes, None, None]:
        try:
            with self._system.open(path, "rb") as source:
                while chunk := source.read(_CHUNK_BYTES):
                    yield chunk
        except Exception as error:
            raise _error(path.rpartition("/")[2], error) from error

    def _find(self, model: str, version: int, file: str, max_bytes: int) -> tuple[str, int]:
        """Look a file's path and size up in the listing; BundleInvalidError where it is missing or too large."""
        details = self._listing.get((model, version), {}).get(file)
        if details is None:
            raise BundleInvalidError(f"{file}: the file is missing")
        if details["size"] > max_bytes:
            raise BundleInvalidError(f"{file}: expected at most {max_bytes} bytes, got {details['size']}")
        return f"{self._root}/{model}/{version}/{file}", details["size"]

    def _make_room(self) -> None:
        """Delete what was used longest ago, until the cache is within its bound; what is in use stays."""
        folders = [folder for folder in self._cache.glob("*/*") if is_model_name(folder.parent.name)]
        used_s = {folder: folder.stat().st_mtime for folder in folders}
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
        excess = sum(sizes.values()) - self._max_cache_bytes
        for folder in sorted(folders, key=used_s.__getitem__):
            if excess <= 0 or time.time() - used_s[folder] < _IN_USE_S:
                return
            shutil.rmtree(folder, ignore_errors=True)
            excess -= sizes[folder]


def _is_whole(folder: Path, graphs: Collection[GraphSpec]) -> bool:
    """Tell whether the folder has the graphs, by their hashes: a disk may fail."""
    try:
        return all(_sha256(folder / graph.path.name) == graph.sha256 for graph in graphs)
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _error(file: str, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return BundleInvalidError(f"{file}: the file is missing")
    return StoreError(f"{file}: cannot be read: {one_line(error)}")
