"""Pure: which names in a repository are those of models and versions."""

import re

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def is_model_name(name: str) -> bool:
    """Tell whether a folder is a model's: neither hidden nor a way out, and text that a message can say."""
    return not name.startswith(".") and not any("\ud800" <= letter <= "\udfff" for letter in name)


def version_number(name: str) -> int | None:
    """Read a version's name; None where it is no whole number from 1."""
    return int(name) if _VERSION.fullmatch(name) else None
