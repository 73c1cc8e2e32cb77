"""From a bundle's folder to sessions that are warm, in two steps: the slow one may run in another process."""

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from latentry.v1 import manifest_pb2

from latentry_server.batching.merge import bucket_sizes
from latentry_server.errors import BundleInvalidError, one_line
from latentry_server.repository.bundle import read_bundle
from latentry_server.sessions.devices import Device
from latentry_server.sessions.session import Runtime, Session
from latentry_server.spec import GraphRole, GraphSpec, ModelSpec, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOpener:
    """Opens bundles' graphs, and runs each at its batch sizes. Blocks."""

    runtime: Runtime
    max_batch_rows: int

    def prepare(self, folder: Path, manifest: manifest_pb2.Manifest, target: Path) -> None:
        """Check the bundle in `folder`, try its graphs, and leave in the folder `target` what `open` takes.

        Raises:
            BundleInvalidError: the first thing that is wrong, in one line.
            OSError: there is no room for it in `target`.
        """
        bundle = read_bundle(folder, manifest)
        graph_bytes = sum(len(content) for content in bundle.graphs.values())
        _check_room(target, graph_bytes)
        try:
            for role, content in bundle.graphs.items():
                graph, file = bundle.spec.graphs[role], target / f"{role}.onnx"
                self._open(graph, functools.partial(self.runtime.prepare, content, file), self._all_sizes).close()
        except BundleInvalidError:
            _check_room(target, graph_bytes)  # others, such as this server's workers, may have filled it meanwhile
            raise

    def open(self, spec: ModelSpec, target: Path) -> dict[GraphRole, Session]:
        """Open the graphs that were prepared in the folder `target`.

        Raises:
            BundleInvalidError: the first thing that is wrong, in one line.
        """
        sessions: dict[GraphRole, Session] = {}
        try:
            for role, graph in spec.graphs.items():
                file = target / f"{role}.onnx"
                sessions[role] = self._open(graph, functools.partial(self.runtime.open, file), self._warm_sizes)
        except BaseException:
            for session in sessions.values():
                session.close()
            raise
        return sessions

    def _open(self, graph: GraphSpec, make: Callable[[], Session], sizes: Callable[[Device], Iterable[int]]) -> Session:
        try:
            session = make()
        except Exception as error:
            raise BundleInvalidError(f"{graph.path.name}: the runtime refused it: {one_line(error)}") from error
        _check_inputs(graph, session)
        for rows in sizes(session.device):
            _warm_up(graph, session, rows)
        return session

    def _all_sizes(self, device: Device) -> Iterable[int]:
        """List the batch sizes that a graph is tried at."""
        return bucket_sizes(self.max_batch_rows) if device.kind == "cuda" else sorted({1, self.max_batch_rows})

    def _warm_sizes(self, device: Device) -> Iterable[int]:
        """List those that requests would pay for: on the CPU a large first batch costs little, here it costs them."""
        return bucket_sizes(self.max_batch_rows) if device.kind == "cuda" else (1,)


def _check_room(target: Path, graph_bytes: int) -> None:
    """Tell a full disk from a broken bundle: onnxruntime's own error would not."""
    needed_bytes = max(1, 2 * graph_bytes)  # weights that are stored as float16 end as float32
    try:
        with TemporaryFile(dir=target) as reserved:
            os.posix_fallocate(reserved.fileno(), 0, needed_bytes)  # knows of quotas, too, unlike the free bytes
    except OSError as error:
        raise OSError(f"temporary files: expected room for {needed_bytes} bytes: {error.strerror}") from error


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
