"""How the server's processes log."""

import logging
import sys


def configure(level: str, *, process: str = "") -> None:
    """Log to the standard error stream, each line with the process's name where there are several."""
    name = f"{process} " if process else ""
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format=f"%(asctime)s %(levelname)s {name}%(name)s: %(message)s"
    )
