"""Words of the command line: models, lists of numbers, labels; and the flags that several commands have."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from latentry_client.results import Model

OutputPath: TypeAlias = Annotated[Path, Parameter(name=("--output", "-o"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """Flags of the commands that style-based generators answer."""

    truncation_psi: float | None = None
    """how far styles go from their mean, -2 to 2; style-based generators only."""

    truncation_cutoff: int | None = None
    """the number of layers that are truncated, from the coarsest."""


Truncated: TypeAlias = Annotated[Truncation, Parameter(name="*")]
NOT_TRUNCATED = Truncation()

_MODEL = re.compile(r"(?P<name>[^/]+)(/(?P<version>[1-9][0-9]*))?")
_RANGE = re.compile(r"(?P<first>[0-9]+)(-(?P<last>[0-9]+))?")
MAX_NUMBERS = 1_000_000


def model_version(text: str) -> tuple[str, int]:
    """Read MODEL: `name` or `name/version`; 0 stands for the newest version."""
    match = _MODEL.fullmatch(text)
    if match is None:
        raise ValueError(f"MODEL: expected <name> or <name>/<version>, got {text!r}")
    return match["name"], int(match["version"] or 0)


def numbers(name: str, text: str) -> list[int]:
    """Read `1,5,7-9`."""
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{name}: expected whole numbers and ranges such as 1,5,7-9, got {text!r}")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last < first:
            raise ValueError(f"{name}: expected ranges that go up, got {part!r}")
        if last - first >= MAX_NUMBERS:
            raise ValueError(f"{name}: expected ranges of at most {MAX_NUMBERS} numbers, got {part!r}")
        found += range(first, last + 1)
    return found


def labels(name: str, text: str | None, model: Model, rows: int) -> list[int] | None:
    """Read labels, by number or by the model's names; a single one holds for all rows."""
    if text is None:
        return None
    if not model.label_names:
        raise ValueError(f"{name}: expected none, as {model.name!r} was trained without labels, got {text!r}")
    by_name = {label: [number] for number, label in enumerate(model.label_names)}
    found: list[int] = []
    for part in text.split(","):
        word = part.strip()
        if word not in by_name and not _RANGE.fullmatch(word):
            raise ValueError(f"{name}: expected numbers, ranges or {', '.join(by_name)}, got {word!r}")
        found += by_name.get(word) or numbers(name, word)
    return found * rows if len(found) == 1 else found
