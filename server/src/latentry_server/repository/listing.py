"""What is in a repository folder."""

import re
from pathlib import Path

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def list_versions(repository: Path) -> list[Path]:
    """List the folders `<model>/<version>/`, hidden ones and those whose name is no whole number from 1 left out.

    Raises:
        OSError: the repository cannot be listed.
    """
    return [
        version
        for model in repository.iterdir()
        if not model.name.startswith(".") and model.is_dir()
        for version in model.iterdir()
        if _VERSION.fullmatch(version.name) and version.is_dir()
    ]
