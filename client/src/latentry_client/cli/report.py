"""What is printed: results on the output stream, messages and progress on the error stream."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from latentry_client.client import Client, R
from latentry_client.request import Request
from latentry_client.results import RunInfo
from latentry_client.tensors import Array

_PLAIN_LINES = 10


def say(message: str) -> None:
    """Print a message for people."""
    print(message, file=sys.stderr)


def show(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result, for people or for machines; people are not shown an empty line."""
    if as_json or text:
        print(json.dumps(data) if as_json else text, flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show_run(info: RunInfo, rows: Array, path: Path, *, as_json: bool, **more: int | str) -> None:
    """Print what ran and what was written where."""
    data = {
        "model": info.model,
        "version": info.version,
        "output": str(path),
        "shape": list(rows.shape),
        "dtype": str(rows.dtype),
        "queue_us": info.queue_us,
        "compute_us": info.compute_us,
        **more,
    }
    words = "".join(f", {name.replace('_', ' ')} {value}" for name, value in more.items())
    text = f"{path}: {rows.dtype} {list(rows.shape)} by {info.model}/{info.version}{words}"
    show(data, text, as_json=as_json)


def run(client: Client, request: Request[R]) -> R:
    """Run a request, with its progress: a bar on a terminal, else a line for each tenth of a large one."""
    with _progress(f"{request.rpc} {request.model}", request.rows) as advance:
        return client.run(request, progress=advance)


@contextmanager
def _progress(title: str, rows: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress(title, rows)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=rows)
        yield lambda count: bar.advance(task, count)


def _plain_progress(title: str, rows: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        is_one_call = count == rows
        if not is_one_call and done * _PLAIN_LINES // rows > before * _PLAIN_LINES // rows:
            say(f"{title}: {done} of {rows} rows")

    return advance
