"""The models of a repository folder, and the life of their versions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_server.batching.batcher import BatchingLimits
from latentry_server.metrics import Metrics
from latentry_server.repository.loaded_model import LoadedModel
from latentry_server.sessions.session import Session

__all__ = ["LoadedModel", "ModelRepository", "ModelState", "ModelStatus"]


class ModelState(StrEnum):
    """Where a version is in its life."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNLOADED = "UNLOADED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One version as it is now; `error` is one line, where FAILED."""

    name: str
    version: int
    state: ModelState
    error: str
    manifest: manifest_pb2.Manifest | None


class ModelRepository:
    """The versions of a folder `<model>/<version>/`. All methods are called on the event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        open_session: Callable[[bytes], Session],
        limits: BatchingLimits,
        metrics: Metrics,
        poll_interval_s: float | None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Load the newest good version of every model, then poll."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop polling and unload all, requests in flight answered."""
        raise NotImplementedError

    @contextmanager
    def lease(self, name: str, version: int = 0) -> Iterator[LoadedModel]:
        """Hold a ready version, 0 = the newest, while a request uses it."""
        raise NotImplementedError

    def statuses(self) -> list[ModelStatus]:
        """List all versions, by name, newest first."""
        raise NotImplementedError

    def status(self, name: str, version: int = 0) -> ModelStatus:
        """Get one version; 0 = the newest that is ready, or the newest known."""
        raise NotImplementedError

    async def load(self, name: str, version: int = 0) -> ModelStatus:
        """Load a version, 0 = the newest in the folder."""
        raise NotImplementedError

    async def unload(self, name: str, version: int = 0) -> list[ModelStatus]:
        """Unload a version, 0 = all that are loaded."""
        raise NotImplementedError

    def subscribe(self, callback: Callable[[str, int, ModelState], None]) -> None:
        """Call back on every change of a version's state, on the event loop."""
        raise NotImplementedError
