"""What a benchmark leaves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save(report: Mapping[str, Any], path: Path) -> None:
    """Write it as JSON, into a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
