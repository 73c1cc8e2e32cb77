"""One version of a model: its state, who uses it, and how it is loaded and unloaded."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_server.errors import BundleInvalidError, ModelNotReadyError, one_line
from latentry_server.repository.bundle import read_manifest
from latentry_server.repository.loaded_model import LoadedModel
from latentry_server.repository.loading import Loader

logger = logging.getLogger(__name__)

Fingerprint = tuple[tuple[str, int, int], ...]


class ModelState(StrEnum):
    """Where a version is in its life."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNLOADED = "UNLOADED"
    FAILED = "FAILED"


class Wish(Enum):
    """What was asked for: nothing (the newest good version is loaded), or that this one be loaded or unloaded."""

    NONE = auto()
    LOADED = auto()
    UNLOADED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One version as it is now; `error` is one line where FAILED, `manifest` is None where it could not be read."""

    name: str
    version: int
    state: ModelState
    error: str
    manifest: manifest_pb2.Manifest | None


class ModelVersion:
    """One version. Used on the event loop; reading and loading run in a worker thread."""

    def __init__(self, folder: Path, *, loader: Loader, on_change: Callable[[str, int, ModelState], None]) -> None:
        self.name = folder.parent.name
        self.number = int(folder.name)
        self.wish = Wish.NONE
        self.state = ModelState.UNLOADED
        self._folder = folder
        self._loader = loader
        self._on_change = on_change
        self._error = ""
        self._manifest: manifest_pb2.Manifest | None = None
        self._model: LoadedModel | None = None
        self._failed_on: Fingerprint | None = None
        self._lock = asyncio.Lock()  # one load or unload at a time
        self._num_leases = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def status(self) -> ModelStatus:
        """What callers are told of the version."""
        return ModelStatus(
            name=self.name, version=self.number, state=self.state, error=self._error, manifest=self._manifest
        )

    @contextmanager
    def lease(self) -> Iterator[LoadedModel]:
        """Hold the model while a request uses it: it is not unloaded before.

        Raises:
            BundleInvalidError: it was refused.
            ModelNotReadyError: it is not ready for another reason.
        """
        self.check_not_failed()
        if self.state is not ModelState.READY or self._model is None:
            raise ModelNotReadyError(f"model {self.name!r} version {self.number} is {self.state.lower()}")
        self._num_leases += 1
        self._unused.clear()
        try:
            yield self._model
        finally:
            self._num_leases -= 1
            if not self._num_leases:
                self._unused.set()

    def check_not_failed(self) -> None:
        """Raise BundleInvalidError if the version was refused."""
        if self.state is ModelState.FAILED:
            raise BundleInvalidError(f"model {self.name!r} version {self.number}: {self._error}")

    def is_there(self) -> bool:
        """Tell whether the folder is there."""
        return self._folder.is_dir()

    async def look(self) -> None:
        """Read the manifest, so that the version can be listed before it is loaded; a broken one is found by `load`."""
        if self.state is ModelState.UNLOADED and self._manifest is None:
            try:
                self._manifest = await asyncio.to_thread(read_manifest, self._folder)
            except BundleInvalidError:
                return

    async def load(self) -> None:
        """Load and warm up, unless ready. Ends READY or FAILED, and never raises."""
        async with self._lock:
            if self.state is ModelState.READY:
                return
            self._error = ""
            self._set_state(ModelState.LOADING)
            self._failed_on = await asyncio.to_thread(_fingerprint, self._folder)
            try:
                self._manifest = None
                self._manifest = await asyncio.to_thread(read_manifest, self._folder)
                self._model = await self._loader.load(self._folder, self._manifest)
            except BundleInvalidError as error:
                self._refuse(one_line(error))
            except Exception as error:
                logger.exception("loading %r version %d", self.name, self.number)
                self._failed_on = None  # not the bundle's fault: a full disk, for example
                self._refuse(f"loading failed: {one_line(error)}")
            else:
                self._failed_on = None
                logger.info("loaded %r version %d", self.name, self.number)
                self._loader.metrics.model_loads.labels(model=self.name, result="success").inc()
                self._set_state(ModelState.READY)

    async def unload(self) -> None:
        """Take no new requests, answer those in flight, free the sessions; nothing happens unless ready."""
        async with self._lock:
            if self._model is None:
                return
            self._set_state(ModelState.UNLOADING)
            await self._unused.wait()
            await self._model.close()
            self._model = None
            logger.info("unloaded %r version %d", self.name, self.number)
            self._set_state(ModelState.UNLOADED)

    async def is_worth_loading(self) -> bool:
        """Tell whether a load could make it ready: what failed is tried again once its folder has changed."""
        if self.state is not ModelState.FAILED:
            return True
        return await asyncio.to_thread(_fingerprint, self._folder) != self._failed_on

    def _refuse(self, error: str) -> None:
        self._error = error
        logger.error("refused %r version %d: %s", self.name, self.number, error)
        self._loader.metrics.model_loads.labels(model=self.name, result="failure").inc()
        self._set_state(ModelState.FAILED)

    def _set_state(self, state: ModelState) -> None:
        self.state = state
        loaded = state is ModelState.READY
        self._loader.metrics.model_loaded.labels(model=self.name, version=str(self.number)).set(loaded)
        self._on_change(self.name, self.number, state)


def _fingerprint(folder: Path) -> Fingerprint:
    """Name, time and size of every file, of a link its own, wherever it leads: cheap to compare."""
    try:
        found = [(path.name, path.lstat()) for path in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, file.st_mtime_ns, file.st_size) for name, file in found))
