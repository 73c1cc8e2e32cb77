"""A server process to measure, and what it takes of the machine."""

import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

COMMAND = (sys.executable, "-c", "from latentry_server.cli import main; main()")
_LISTENING = re.compile(r"latentry-server listening on (\S+:\d+)")


@dataclass(frozen=True)
class ServerProcess:
    """A server that is ready."""

    pid: int
    address: str
    start_s: float

    @property
    def resident_mib(self) -> float:
        """Resident memory of the process alone."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    @property
    def num_files(self) -> int:
        """Open files, sockets and pipes."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def num_threads(self) -> int:
        """Threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


@contextmanager
def serve(repository: Path, *flags: str, metrics_port: int = 0) -> Iterator[ServerProcess]:
    """Start `latentry-server` on a free port of this machine, with its flags, and stop it at the end."""
    started_s = time.perf_counter()
    ports = ("--port", "0", "--metrics-port", str(metrics_port))
    command = [*COMMAND, "--repository", str(repository), *ports, "--device", "cpu", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address, _ = await_address(process.stderr)
            ready = ServerProcess(process.pid, address, time.perf_counter() - started_s)
            threading.Thread(target=process.stderr.read, daemon=True).start()  # else its log would fill the pipe
            yield ready
        finally:
            process.terminate()
            process.wait()


def await_address(log: IO[str]) -> tuple[str, list[str]]:
    """Read what a server logs until it listens; return its address and the lines. RuntimeError where it ends before."""
    lines = []
    for line in log:
        lines.append(line)
        if found := _LISTENING.search(line):
            return found[1], lines
    raise RuntimeError(f"the server did not start: {''.join(lines)}")
