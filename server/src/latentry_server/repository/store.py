"""Where bundles are: what the life cycle asks of a repository."""

from pathlib import Path
from typing import Protocol

from latentry.v1 import manifest_pb2

# Of a version's files: differs where one of them has changed. Empty where there is none.
Fingerprint = tuple[object, ...]


class StoreError(Exception):
    """The repository cannot be read now; the text says in one line why."""


class Store(Protocol):
    """A repository's bundles, by model and version. Its methods block, but for `has`; its text is where it is."""

    def versions(self) -> dict[str, list[int] | None]:
        """List every model's versions; None for a model whose versions cannot be listed now.

        What is hidden, and versions whose name is no whole number from 1, are left out; so are models whose name is not
        UTF-8, which no message could say.

        Raises:
            StoreError: the repository cannot be listed.
        """

    def has(self, model: str, version: int) -> bool:
        """Tell whether the version is there, as far as is known."""

    def fingerprint(self, model: str, version: int) -> Fingerprint:
        """Say what tells whether the version's files have changed: cheap to get, and to compare."""

    def read_manifest(self, model: str, version: int) -> manifest_pb2.Manifest:
        """Read a version's manifest.

        Raises:
            BundleInvalidError: it is missing, too large, or no manifest.
            StoreError: the repository cannot be read.
        """

    def fetch(self, model: str, version: int, manifest: manifest_pb2.Manifest) -> Path:
        """Have the version's graphs in a folder `<model>/<version>/` of this machine, and return it.

        Raises:
            BundleInvalidError: the manifest or a graph is not as it must be, or a graph is missing.
            StoreError: the repository cannot be read.
            OSError: there is no room on this machine.
        """
