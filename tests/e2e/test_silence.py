"""Nobody is told what users do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["latentry_server.sessions.onnx", "latentry_trainer.export.parity"])
def test_onnxruntime_does_not_report_to_its_maker(module: str, tmp_path: Path) -> None:
    # Where it reports, it keeps a session's id among the temporary files from its import on.
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", f"import {module}; import onnxruntime"]
    subprocess.run(command, check=True, env=environment | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}, timeout=120)
    assert list(tmp_path.rglob("*")) == []
