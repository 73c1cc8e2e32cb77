"""One version of a model: its state, who uses it, and how it is loaded and unloaded."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from latentry.v1 import manifest_pb2

from latentry_server.errors import BundleInvalidError, ModelNotReadyError, one_line
from latentry_server.repository.lease import Lease
from latentry_server.repository.loading import Loader
from latentry_server.repository.store import Fingerprint, Store, StoreError

logger = logging.getLogger(__name__)


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


def check_not_failed(status: ModelStatus) -> None:
    """Raise BundleInvalidError if the version was refused."""
    if status.state is ModelState.FAILED:
        raise BundleInvalidError(f"model {status.name!r} version {status.version}: {status.error}")


class ModelVersion:
    """One version. Used on the event loop; reading and loading run in a worker thread."""

    def __init__(
        self,
        name: str,
        number: int,
        *,
        store: Store,
        loader: Loader,
        on_change: Callable[[str, int, ModelState], None],
    ) -> None:
        self.name = name
        self.number = number
        self.wish = Wish.NONE
        self.state = ModelState.UNLOADED
        self._store = store
        self._loader = loader
        self._on_change = on_change
        self._error = ""
        self._manifest: manifest_pb2.Manifest | None = None
        self._lease: Lease | None = None  # None unless ready or unloading
        self._failed_on: Fingerprint | None = None
        self._lock = asyncio.Lock()  # one load or unload at a time

    @property
    def status(self) -> ModelStatus:
        """What callers are told of the version."""
        return ModelStatus(
            name=self.name, version=self.number, state=self.state, error=self._error, manifest=self._manifest
        )

    def lease(self) -> Lease:
        """Hold the model while a request uses it: it is not unloaded before.

        Raises:
            BundleInvalidError: it was refused.
            ModelNotReadyError: it is not ready for another reason.
        """
        if self._lease is None or self.state is not ModelState.READY:
            check_not_failed(self.status)
            raise ModelNotReadyError(f"model {self.name!r} version {self.number} is {self.state.lower()}")
        return self._lease

    def is_there(self) -> bool:
        """Tell whether the repository has it."""
        return self._store.has(self.name, self.number)

    async def look(self) -> None:
        """Read the manifest, so that the version can be listed before it is loaded; a broken one is found by `load`."""
        if self.state is ModelState.UNLOADED and self._manifest is None:
            try:
                self._manifest = await asyncio.to_thread(self._store.read_manifest, self.name, self.number)
            except (BundleInvalidError, StoreError):
                return

    async def load(self, *, if_changed: bool = False) -> ModelStatus:
        """Load and warm up, unless ready, and return what came of it: READY or FAILED. Never raises.

        With `if_changed`, what has failed is left as it is until its files have changed, and what is unloaded on
        request meanwhile stays so.
        """
        async with self._lock:
            if self.state is ModelState.READY:
                return self.status
            fingerprint = await asyncio.to_thread(self._store.fingerprint, self.name, self.number)
            if if_changed and self.state is ModelState.FAILED and fingerprint == self._failed_on:
                return self.status
            if if_changed and self.wish is Wish.UNLOADED:  # since this began
                return self.status
            self._error = ""
            self._failed_on = fingerprint
            self._set_state(ModelState.LOADING)
            try:
                self._manifest = None
                self._manifest = await asyncio.to_thread(self._store.read_manifest, self.name, self.number)
                folder = await asyncio.to_thread(self._store.fetch, self.name, self.number, self._manifest)
                self._lease = Lease(await self._loader.load(folder, self._manifest))
            except BundleInvalidError as error:
                self._refuse(one_line(error))
            except (StoreError, OSError) as error:
                self._failed_on = None  # not the bundle's fault: it is tried again at the next look
                self._refuse(f"loading failed: {one_line(error)}")
            except Exception as error:
                logger.exception("loading %r version %d", self.name, self.number)
                self._failed_on = None
                self._refuse(f"loading failed: {one_line(error)}")
            else:
                self._failed_on = None
                logger.info("loaded %r version %d", self.name, self.number)
                self._loader.metrics.model_loads.labels(model=self.name, result="success").inc()
                self._set_state(ModelState.READY)
            return self.status

    async def unload(self) -> None:
        """Take no new requests, answer those in flight, free the sessions; nothing happens unless ready."""
        async with self._lock:
            if self._lease is None:
                return
            self._set_state(ModelState.UNLOADING)
            await self._lease.unused.wait()
            await self._lease.model.close()
            self._lease = None
            logger.info("unloaded %r version %d", self.name, self.number)
            self._set_state(ModelState.UNLOADED)

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
