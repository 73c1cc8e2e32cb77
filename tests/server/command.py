"""The command `latentry-server` as a real process, and what it said."""

import asyncio
import os
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.server_process import COMMAND, await_address


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def flags(**settings: object) -> list[str]:
    given = {"port": 0, "metrics_port": 0, "device": "cpu", "threads": 1} | settings
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - this machine's own server
        return str(response.read().decode())


@contextmanager
def process(**settings: object) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Start the command, and give it, its address and the lines it logged until it listened."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as temporary,  # what is killed leaves its files behind
        subprocess.Popen(
            [*COMMAND, *flags(**settings)], stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": temporary}
        ) as running,
    ):
        assert running.stderr is not None
        try:
            yield running, *await_address(running.stderr)
        finally:
            running.kill()


def children(pid: int) -> list[int]:
    """List a process's children, the oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - what other processes do sets no event here
            await asyncio.sleep(0.02)


def sample(text: str, name: str) -> float:
    """Read a metric whose labels do not matter."""
    found = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in found)
