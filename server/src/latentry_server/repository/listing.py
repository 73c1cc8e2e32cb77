"""What is in a repository folder."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def list_models(repository: Path) -> dict[str, list[Path] | None]:
    """List the folders `<model>/<version>/` of every model; None for a model's folder that cannot be listed now.

    Hidden folders, and versions whose name is no whole number from 1, are left out; so are models whose name is not
    UTF-8, which no message could say.

    Raises:
        OSError: the repository cannot be listed.
    """
    return {model.name: _list_versions(model) for model in _folders(repository) if _is_name(model.name)}


def _list_versions(model: Path) -> list[Path] | None:
    try:
        return [version for version in _folders(model) if _VERSION.fullmatch(version.name)]
    except FileNotFoundError:  # deleted since the repository was listed
        return []
    except OSError as error:
        logger.warning("model %r cannot be listed: %s", model.name, error.strerror)
        return None


def _folders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir())


def _is_name(name: str) -> bool:
    return not name.startswith(".") and not any("\ud800" <= letter <= "\udfff" for letter in name)
