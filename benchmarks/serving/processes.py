"""What runs beside the server: the load, the echo and the bare runtime, each a process of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIMEOUT_S = 120  # of a side, which takes seconds


def run_side(module: str, *arguments: str | Path) -> dict[str, float]:
    """Run a module of this package; it prints one line of JSON."""
    command = [sys.executable, "-m", f"benchmarks.serving.{module}", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr}")
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


@contextmanager
def echo() -> Iterator[str]:
    """Run the echo server; yields its address."""
    command = [sys.executable, "-m", "benchmarks.serving.echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("listening on ").strip()
        finally:
            process.kill()


def copy_models(models: Path, folder: Path, count: int) -> Path:
    """Fill a repository with copies of the stacked autoencoder: `stacked` itself, `stacked-1` and so on."""
    for number in range(count):
        name = f"stacked-{number}" if number else "stacked"
        shutil.copytree(models / "stacked" / "1", folder / name / "1")
        manifest = folder / name / "1" / "manifest.json"
        content = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(content | {"name": name}))
    return folder
