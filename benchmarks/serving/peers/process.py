"""A peer's process: started, held still while others are measured, and killed at the end."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
}


@dataclass(frozen=True)
class PeerProcess:
    """A server and all processes that it has started, which form one group."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def check(self) -> None:
        """RuntimeError, with its log, where the server has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args!r} ended:\n{self.log.read_text()}")

    def pause(self) -> None:
        """Take no processor time: some servers look for work a thousand times a second."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def serve_peer(python: Path, module: str, graph: Path, log: Path, *flags: str) -> Iterator[PeerProcess]:
    """Start a peer's side in its environment; it may not be ready yet. Kill its whole group at the end."""
    port = free_port()
    command = [str(python), "-m", f"benchmarks.serving.peers.{module}", str(port), str(graph), *flags]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | ENVIRONMENT, start_new_session=True
        ) as process,
    ):
        try:
            yield PeerProcess(process, f"127.0.0.1:{port}", log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
