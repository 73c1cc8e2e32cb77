"""From a bundle's folder to a model that is warm; slow and blocking, for a worker thread."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from latentry.v1 import manifest_pb2

from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.merge import bucket_sizes
from latentry_server.errors import BundleInvalidError, one_line
from latentry_server.metrics import Metrics
from latentry_server.repository.bundle import read_bundle
from latentry_server.repository.loaded_model import LoadedModel
from latentry_server.sessions.session import Session
from latentry_server.spec import GraphRole, GraphSpec, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Loads bundles: what all of them share."""

    open_session: Callable[[bytes], Session]
    limits: BatchingLimits
    metrics: Metrics

    def load(self, folder: Path, manifest: manifest_pb2.Manifest) -> LoadedModel:
        """Check the bundle, open its sessions and run each at its batch sizes.

        Raises:
            BundleInvalidError: the first thing that is wrong, in one line.
        """
        bundle = read_bundle(folder, manifest)
        sessions: dict[GraphRole, Session] = {}
        try:
            for role, content in bundle.graphs.items():
                sessions[role] = self._open(bundle.spec.graphs[role], content)
        except BaseException:
            for session in sessions.values():
                session.close()
            raise
        return LoadedModel(bundle.spec, manifest, sessions, limits=self.limits, metrics=self.metrics)

    def _open(self, graph: GraphSpec, content: bytes) -> Session:
        try:
            session = self.open_session(content)
        except Exception as error:
            raise BundleInvalidError(f"{graph.path.name}: the runtime refused it: {one_line(error)}") from error
        _check_inputs(graph, session)
        on_cuda = session.device.kind == "cuda"
        max_rows = self.limits.max_batch_rows
        for rows in bucket_sizes(max_rows) if on_cuda else sorted({1, max_rows}):
            _warm_up(graph, session, rows)
        return session


def _check_inputs(graph: GraphSpec, session: Session) -> None:
    """Compare the graph's real inputs to the manifest's; an axis that the graph leaves open may be any."""
    real = {tensor.name: tensor for tensor in session.inputs}
    if real.keys() != {tensor.name for tensor in graph.inputs}:
        raise BundleInvalidError(
            f"{graph.path.name}: the manifest's inputs are {_names(graph.inputs)}, the file's {_names(session.inputs)}"
        )
    for tensor in graph.inputs:
        found = real[tensor.name]
        fits = (
            found.dtype == tensor.dtype
            and len(found.shape) == len(tensor.shape)
            and found.shape[0] == -1
            and all(axis in (-1, want) for axis, want in zip(found.shape, tensor.shape, strict=True))
        )
        if not fits:
            raise BundleInvalidError(
                f"{graph.path.name}: the manifest's input {tensor.name} is {tensor.dtype} {list(tensor.shape)},"
                f" the file's {found.dtype} {list(found.shape)}"
            )


def _warm_up(graph: GraphSpec, session: Session, rows: int) -> None:
    """Run the graph, so that no request pays for the first time, and compare its real outputs to the manifest's."""
    inputs = {tensor.name: np.zeros((rows, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in graph.inputs}
    try:
        outputs = session.run(inputs)
    except Exception as error:
        raise BundleInvalidError(f"{graph.path.name}: failed on {rows} rows of zeros: {one_line(error)}") from error
    expected = {tensor.name: (tensor.dtype, (rows, *tensor.shape[1:])) for tensor in graph.outputs}
    got = {name: (array.dtype, array.shape) for name, array in outputs.items()}
    if got != expected:
        raise BundleInvalidError(
            f"{graph.path.name}: of {rows} rows, the manifest's outputs are {_describe(expected)},"
            f" the file's {_describe(got)}"
        )


def _describe(tensors: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in tensors.items())


def _names(tensors: tuple[TensorSpec, ...]) -> str:
    return ", ".join(tensor.name for tensor in tensors)
