"""Small files that may be replaced while the server runs: certificates, tokens."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from latentry_server.errors import StartError

logger = logging.getLogger(__name__)

Content = TypeVar("Content")


class WatchedFiles(Generic[Content]):
    """What was read of some files, read again once one of them has changed; what cannot be read changes nothing."""

    def __init__(self, files: dict[str, Path], parse: Callable[[dict[str, bytes]], Content]) -> None:
        """Read the files, named by their settings; StartError where one cannot be read, or `parse` refuses it."""
        self._files = files
        self._parse = parse
        self._seen = self._stamps()
        self.content = parse({setting: read_file(setting, file) for setting, file in files.items()})

    def refresh(self) -> bool:
        """Read the files again if one has changed; tell whether there is new content."""
        seen = self._stamps()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.content = self._parse({setting: read_file(setting, file) for setting, file in self._files.items()})
        except StartError as error:
            logger.error("%s; what was read before goes on", error)  # noqa: TRY400 - its text says all
            return False
        logger.info("read again: %s", ", ".join(str(file) for file in self._files.values()))
        return True

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files.values()]


def read_file(setting: str, file: Path) -> bytes:
    """Read a file that a setting names; StartError where it cannot be."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise StartError(f"{setting}: cannot read {file}: {error.strerror}") from error


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Tell one content of a file from the next: by time, size and inode, a link's target's."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
