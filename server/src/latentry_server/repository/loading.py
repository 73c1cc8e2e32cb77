"""From a bundle's folder to a model that is warm."""

import asyncio
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_server.batching.limits import BatchingLimits
from latentry_server.metrics import Metrics
from latentry_server.repository.graphs import GraphOpener
from latentry_server.repository.loaded_model import LoadedModel
from latentry_server.repository.manifest import model_spec
from latentry_server.repository.trial import Trial
from latentry_server.scratch import scratch_folder
from latentry_server.sessions.session import Runtime, Session
from latentry_server.spec import GraphRole, ModelSpec


class Loader:
    """Loads bundles, one at a time, each tried in another process first. Used on the event loop."""

    def __init__(self, *, runtime: Runtime, limits: BatchingLimits, metrics: Metrics, timeout_s: float | None) -> None:
        """Take how long a trial may last; None: bundles are tried in this process, for as long as it takes."""
        self.metrics = metrics
        self._limits = limits
        self._opener = GraphOpener(runtime=runtime, max_batch_rows=limits.max_batch_rows)
        self._trial = None if timeout_s is None else Trial(self._opener, timeout_s=timeout_s)
        self._turn = asyncio.Lock()

    async def load(self, folder: Path, manifest: manifest_pb2.Manifest) -> LoadedModel:
        """Check the bundle, open its sessions and run each at its batch sizes.

        Raises:
            BundleInvalidError: the first thing that is wrong, in one line.
            OSError: there is no room for temporary files.
        """
        spec = model_spec(manifest, folder)
        async with self._turn:
            sessions = await asyncio.to_thread(self._open, spec, folder, manifest)
        return LoadedModel(spec, manifest, sessions, limits=self._limits, metrics=self.metrics)

    async def close(self) -> None:
        """Give up a trial that goes on, and end its process."""
        if self._trial is not None:
            await asyncio.to_thread(self._trial.close)

    def _open(self, spec: ModelSpec, folder: Path, manifest: manifest_pb2.Manifest) -> dict[GraphRole, Session]:
        prepare = self._opener.prepare if self._trial is None else self._trial.run
        with scratch_folder() as prepared:
            prepare(folder, manifest, prepared)
            return self._opener.open(spec, prepared)
