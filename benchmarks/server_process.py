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

_COMMAND = (sys.executable, "-c", "from latentry_server.cli import main; main()")
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
def serve(repository: Path, *flags: str) -> Iterator[ServerProcess]:
    """Start `latentry-server` on a free port of this machine, with its flags, and stop it at the end."""
    started_s = time.perf_counter()
    command = [*_COMMAND, "--repository", str(repository), "--port", "0", "--metrics-port", "0", "--device", "cpu"]
    with subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if found := _LISTENING.search(line):
                    break
            else:
                sys.exit(f"the server did not start: {''.join(lines)}")
            ready = ServerProcess(process.pid, found[1], time.perf_counter() - started_s)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield ready
        finally:
            process.terminate()
            process.wait()
