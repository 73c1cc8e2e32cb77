"""Reading a bundle's files, bounded and checked; the bytes that were checked are the bytes that run."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_server.errors import BundleInvalidError
from latentry_server.repository.external_data import check_self_contained
from latentry_server.repository.manifest import model_spec, parse_manifest
from latentry_server.spec import GraphRole, GraphSpec, ModelSpec

MAX_MANIFEST_BYTES = 1 << 20
MAX_GRAPH_BYTES = (1 << 31) - 1  # protobuf's own limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A checked bundle: what it is, and each graph's bytes."""

    spec: ModelSpec
    graphs: Mapping[GraphRole, bytes]


def read_manifest(folder: Path) -> manifest_pb2.Manifest:
    """Read `<folder>/manifest.json`.

    Raises:
        BundleInvalidError: it is missing, too large, or no manifest.
    """
    return parse_manifest(_read_file(folder, "manifest.json", MAX_MANIFEST_BYTES))


def read_bundle(folder: Path, manifest: manifest_pb2.Manifest) -> Bundle:
    """Check the manifest of the bundle in `<model>/<version>/` and read its graphs.

    Raises:
        BundleInvalidError: the first thing that is wrong, in one line.
    """
    spec = model_spec(manifest, folder)
    return Bundle(spec=spec, graphs={role: _read_graph(folder, graph) for role, graph in spec.graphs.items()})


def _read_graph(folder: Path, graph: GraphSpec) -> bytes:
    file = graph.path.name
    content = _read_file(folder, file, MAX_GRAPH_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if digest != graph.sha256:
        raise BundleInvalidError(f"{file}: expected SHA-256 {graph.sha256}, got {digest}")
    check_self_contained(file, content)
    return content


def _read_file(folder: Path, file: str, max_bytes: int) -> bytes:
    """Read a regular file of the folder; links are followed inside the folder only."""
    try:
        path = (folder / file).resolve(strict=True)
        if not path.is_relative_to(folder.resolve()):
            raise BundleInvalidError(f"{file}: expected a file of the bundle, but it is a link that leaves its folder")
        # Non-blocking: a pipe in the file's place must not hold the server up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleInvalidError(f"{file}: expected a regular file")
            if found.st_size > max_bytes:
                raise BundleInvalidError(f"{file}: expected at most {max_bytes} bytes, got {found.st_size}")
            return stream.read(max_bytes)
    except FileNotFoundError as error:
        raise BundleInvalidError(f"{file}: the file is missing") from error
    except OSError as error:  # without the path, since callers are told
        raise BundleInvalidError(f"{file}: cannot be read: {error.strerror}") from error
    except RuntimeError as error:  # before Python 3.13
        raise BundleInvalidError(f"{file}: cannot be read: links in a circle") from error
