"""Which store a repository's name asks for."""

from pathlib import Path

from latentry_server.errors import one_line
from latentry_server.repository.cache_folder import is_url
from latentry_server.repository.local_store import LocalStore
from latentry_server.repository.store import Store


def open_store(repository: str, *, cache: Path | None, max_cache_bytes: int) -> Store:
    """Open a folder, or what an fsspec URL (`s3://bucket/models`) stands for; see `RemoteStore` for the cache.

    Raises:
        ValueError: the kind of URL is not known or needs a package that is not there, or there can be no such cache.
        StartError: there can be none among temporary files.
    """
    if not is_url(repository):
        return LocalStore(Path(repository))
    try:
        from latentry_server.repository.remote_store import RemoteStore  # noqa: PLC0415 - fsspec is optional

        return RemoteStore(repository, cache=cache, max_cache_bytes=max_cache_bytes)
    except ImportError as error:
        needed = "a URL needs latentry-server[remote] and its kind's package, s3fs for s3://"
        raise ValueError(f"repository: {needed}: {one_line(error)}") from error
    except ValueError as error:
        raise ValueError(f"repository: {one_line(error)}") from error
    except OSError as error:
        raise ValueError(f"cache_dir: cannot be used: {error.strerror}") from error
