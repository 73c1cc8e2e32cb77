"""Pure: which versions of a repository are loaded without being asked for."""

import re
from dataclasses import dataclass
from typing import Self

_ENTRY = re.compile(r"(?P<all>\*)|(?P<model>[^\s/*]+)(/(?P<version>[1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The newest good version of some models or of all, and versions that are pinned: loaded beside or without it."""

    all_models: bool = False
    models: frozenset[str] = frozenset()
    pinned: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `*`, `<model>` and `<model>/<version>`, separated by commas; "" selects nothing.

        Raises:
            ValueError: an entry is none of these.
        """
        matches = []
        for entry in filter(None, (part.strip() for part in text.split(","))):
            match = _ENTRY.fullmatch(entry)
            if match is None:
                expected = "*, <model> or <model>/<version>, separated by commas"
                raise ValueError(f"models: expected {expected}, got {entry!r}")
            matches.append(match)
        return cls(
            all_models=any(match["all"] for match in matches),
            models=frozenset(match["model"] for match in matches if match["model"] and not match["version"]),
            pinned=frozenset((match["model"], int(match["version"])) for match in matches if match["version"]),
        )

    def wants_newest(self, model: str) -> bool:
        """Tell whether the newest good version of the model is to be loaded."""
        return self.all_models or model in self.models
