"""The models of a repository: which versions there are, which are loaded, which one answers."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from latentry_server.batching.limits import BatchingLimits
from latentry_server.errors import ModelNotFoundError, ModelNotReadyError, VersionNotFoundError, VersionNotLoadedError
from latentry_server.metrics import Metrics
from latentry_server.repository.lease import Lease
from latentry_server.repository.loading import Loader
from latentry_server.repository.selection import Selection
from latentry_server.repository.store import Store, StoreError
from latentry_server.repository.version import ModelState, ModelStatus, ModelVersion, Wish, check_not_failed
from latentry_server.sessions.session import Runtime

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
StateListener = Callable[[str, int, ModelState], None]


class ModelRepository:
    """The versions of a repository. All methods are called on the event loop.

    By itself it keeps what is selected loaded: pinned versions, and the newest good version of models. A new one is
    ready and warm before the old one goes, a broken one leaves the old one serving. `load` adds a version, and `unload`
    takes one away; neither is undone by polling: what was unloaded stays so, and nothing older comes in its place.
    """

    def __init__(
        self,
        store: Store,
        *,
        selection: Selection,
        runtime: Runtime,
        limits: BatchingLimits,
        metrics: Metrics,
        poll_interval_s: float | None,
        load_timeout_s: float | None,
    ) -> None:
        """Take the repository, and what runs its graphs.

        Args:
            store: where the bundles are.
            selection: what is loaded without being asked for.
            runtime: how an ONNX file becomes a session.
            limits: those of each graph's queue and batches.
            metrics: where loads are counted.
            poll_interval_s: how often to look for changes; None: only at the start.
            load_timeout_s: how long a bundle is tried in another process before it is loaded; None: it is not.
        """
        self._store = store
        self._selection = selection
        self._loader = Loader(runtime=runtime, limits=limits, metrics=metrics, timeout_s=load_timeout_s)
        self._poll_interval_s = poll_interval_s
        self._models: dict[str, list[ModelVersion]] = {}  # newest first; no model without a version
        self._listeners: list[StateListener] = []
        self._discovering = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is selected, then go on looking for changes.

        Raises:
            ValueError: the repository cannot be listed.
        """
        try:
            await self._scan()
        except StoreError as error:
            raise ValueError(f"repository: expected a readable folder, got {self._store}: {error}") from error
        if self._poll_interval_s is not None:
            self._polling = asyncio.create_task(self._poll(self._poll_interval_s), name="repository polling")

    async def close(self) -> None:
        """Stop looking and unload all, requests in flight answered first."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        await self._loader.close()
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(version.unload() for version in self._all()))

    def lease(self, name: str, version: int = 0) -> Lease:
        """Hold a version, 0 = the newest that is ready, while a request uses it.

        Raises:
            ModelNotFoundError: no such model.
            VersionNotFoundError: no such version.
            BundleInvalidError: the version was refused.
            ModelNotReadyError: the version is loading, unloading or unloaded.
        """
        return self._find(name, version).lease()

    def statuses(self) -> list[ModelStatus]:
        """List all versions, by name, newest first."""
        return [version.status for version in self._all()]

    def status(self, name: str, version: int = 0) -> ModelStatus:
        """Get one version; 0 = the newest that is ready, or the newest known where none is.

        Raises:
            ModelNotFoundError: no such model.
            VersionNotFoundError: no such version.
        """
        return self._find(name, version).status

    async def load(self, name: str, version: int = 0, *, pinned: bool = True) -> ModelStatus:
        """Load a version, 0 = the newest in the repository, and wait until it is ready.

        A version that is named is pinned, unless told otherwise: it stays where a newer one is loaded.

        Raises:
            ModelNotFoundError: no such model.
            VersionNotFoundError: no such version.
            BundleInvalidError: the bundle is broken; what was loaded before stays.
            ModelNotReadyError: the repository cannot be listed now.
        """
        try:
            gone = await self._discover()
        except StoreError as error:
            raise ModelNotReadyError(f"the repository cannot be listed: {error}") from error
        present = [found for found in self._versions(name) if found not in gone]
        found = next((found for found in present if version in (0, found.number)), None)
        if found is None:
            raise VersionNotFoundError(name, version) if present else ModelNotFoundError(name)
        found.wish = Wish.LOADED if version and pinned else Wish.NONE
        status = await self._finish(found.load())
        check_not_failed(status)
        self._retire_older(present)
        return status

    async def unload(self, name: str, version: int = 0) -> list[ModelStatus]:
        """Unload a version, 0 = all that are loaded, and wait until their requests in flight are answered.

        Raises:
            ModelNotFoundError: no such model.
            VersionNotFoundError: no such version.
            VersionNotLoadedError: no such version is loaded.
        """
        asked = [self._find(name, version)] if version else self._versions(name)
        loaded = [found for found in asked if found.state in (ModelState.READY, ModelState.LOADING)]
        if not loaded:
            raise VersionNotLoadedError(name, version)
        for found in asked:
            found.wish = Wish.UNLOADED
        await asyncio.gather(*(self._finish(found.unload()) for found in loaded))
        return [found.status for found in loaded]

    def subscribe(self, callback: StateListener) -> None:
        """Call back with name, version and state on every change, on the event loop."""
        self._listeners.append(callback)

    def _all(self) -> Iterator[ModelVersion]:
        return (version for name in sorted(self._models) for version in self._models[name])

    def _versions(self, name: str) -> list[ModelVersion]:
        if name not in self._models:
            raise ModelNotFoundError(name)
        return self._models[name]

    def _find(self, name: str, number: int) -> ModelVersion:
        versions = self._versions(name)
        if number:
            found = next((version for version in versions if version.number == number), None)
            if found is None:
                raise VersionNotFoundError(name, number)
            return found
        return next((version for version in versions if version.state is ModelState.READY), versions[0])

    async def _poll(self, interval_s: float) -> None:
        while True:
            # At multiples of the interval, so that the workers of a server, who share the clock, look at the same time.
            await asyncio.sleep(interval_s - time.monotonic() % interval_s)
            try:
                await self._scan()
            except StoreError as error:
                logger.error("the repository %s cannot be listed: %s", self._store, error)  # noqa: TRY400 - all is said
            except Exception:
                logger.exception("looking into %s", self._store)

    async def _scan(self) -> None:
        gone = await self._discover()
        # A snapshot: what was deleted is forgotten as soon as its requests have ended, in the middle of this, too.
        for name, versions in sorted(self._models.items()):
            present = [version for version in versions if version not in gone]
            await self._load_wished(present)
            if self._selection.wants_newest(name):
                await self._load_newest(present)
                self._retire_older(present)
        for version in gone:  # last, so that what takes its place is ready before
            self._start(self._forget(version))

    async def _discover(self) -> list[ModelVersion]:
        """Add the versions that are new in the repository; return those that are gone from it."""
        async with self._discovering:  # a listing is compared to what is known before another one adds to it
            listing = await asyncio.to_thread(self._store.versions)
            found = {(name, number) for name, numbers in listing.items() for number in numbers or ()}
            known = {(version.name, version.number): version for version in self._all()}
            for name, number in sorted(found - known.keys()):
                version = ModelVersion(name, number, store=self._store, loader=self._loader, on_change=self._notify)
                if (name, number) in self._selection.pinned:
                    version.wish = Wish.LOADED
                self._models.setdefault(name, []).append(version)
                self._models[name].sort(key=lambda version: -version.number)
                await version.look()
        unknown = {name for name, numbers in listing.items() if numbers is None}
        return [version for key, version in known.items() if key not in found and version.name not in unknown]

    async def _load_wished(self, versions: list[ModelVersion]) -> None:
        """Load what is pinned, or was asked for and could not be loaded then."""
        for version in versions:
            if version.wish is Wish.LOADED:
                await self._finish(version.load(if_changed=True))

    async def _load_newest(self, versions: list[ModelVersion]) -> None:
        """Load the newest good version, unless what was unloaded on request is newer."""
        for version in versions:
            if version.wish is Wish.UNLOADED:
                return
            await self._finish(version.load(if_changed=True))
            if version.state is ModelState.READY:
                return

    def _retire_older(self, versions: list[ModelVersion]) -> None:
        """Unload what is older than the newest ready version and was not asked for, as its requests end."""
        ready = [version for version in versions if version.state is ModelState.READY]
        for version in ready[1:]:
            if version.wish is Wish.NONE:
                self._start(version.unload())

    async def _forget(self, version: ModelVersion) -> None:
        await version.unload()
        if version.is_there():  # published again meanwhile, and perhaps about to be loaded
            return
        versions = self._models.get(version.name, [])
        if version in versions:
            versions.remove(version)
            self._loader.metrics.forget(model=version.name, version=version.number)
        if not versions:
            self._models.pop(version.name, None)

    def _start(self, work: Coroutine[None, None, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _finish(self, work: Coroutine[None, None, Result]) -> Result:
        """Do work that goes on where the caller who waits for it is cancelled."""
        return await asyncio.shield(self._start(work))

    def _notify(self, name: str, version: int, state: ModelState) -> None:
        for listener in self._listeners:
            listener(name, version, state)
