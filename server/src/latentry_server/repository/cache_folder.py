"""Where what a repository behind a URL has sent is kept, unless the settings say where."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

from latentry_server.errors import StartError


def is_url(repository: str) -> bool:
    """Tell a repository behind a URL from one in a folder."""
    return "://" in repository


def default_cache() -> Path:
    """Make this user's cache among temporary files, the same for every start, and return it.

    Everybody may write there and can guess the name: what is not a folder of our own is not used.

    Raises:
        StartError: it is another user's, a link or a file; or there can be none.
    """
    try:
        folder = Path(gettempdir()) / f"latentry-cache-{os.geteuid()}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise StartError(f"cache_dir: there can be none among temporary files: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StartError(f"cache_dir: expected {folder} to be a folder of the server's own user, or another cache_dir")
    return folder
