"""The bearer tokens that callers must carry."""

import hashlib
import hmac
import time
from pathlib import Path

from latentry_server.errors import StartError
from latentry_server.watched_files import WatchedFiles

# Looking at the file costs more than comparing a token.
_REFRESH_INTERVAL_S = 1.0

_SCHEME = b"Bearer "


class Tokens:
    """The tokens of a file, one a line; a file that changes counts within a second."""

    def __init__(self, file: Path) -> None:
        """Read the file; StartError where it cannot be read or holds no token."""
        self._watched = WatchedFiles({"token_file": file}, _digests)
        self._looked_s = time.monotonic()

    def accept(self, authorization: str) -> bool:
        """Tell whether the metadata's value is `Bearer` and one of the tokens.

        Digests of all tokens are compared in constant time, so that the time taken tells nothing of them.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s >= _REFRESH_INTERVAL_S:
            self._looked_s = now_s
            self._watched.refresh()
        given = hashlib.sha256(authorization.encode()).digest()
        matches = [hmac.compare_digest(given, digest) for digest in self._watched.content]
        return True in matches


def _digests(files: dict[str, bytes]) -> list[bytes]:
    (content,) = files.values()
    tokens = [line.strip() for line in content.splitlines() if line.strip()]
    if not tokens:
        raise StartError("token_file: expected a token a line, got an empty file")
    return [hashlib.sha256(_SCHEME + token).digest() for token in tokens]
