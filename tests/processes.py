"""Real processes of the product, for tests."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

COMMANDS = Path(sys.executable).parent  # latentry, latentry-server, latentry-train
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


@contextmanager
def serve(repository: Path | str, *flags: str) -> Iterator[str]:
    """Run `latentry-server` on a free port, yield its address, and see that SIGTERM ends it well."""
    command: list[str | Path] = [COMMANDS / "latentry-server", "--repository", repository]
    with TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [*command, "--port", "0", "--metrics-port", "0", "--device", "cpu", *flags], stderr=log, text=True
        )
        try:
            deadline_s = time.monotonic() + START_TIMEOUT_S
            while not (found := re.search(r"listening on (\S+:\d+)", _read(log))):
                assert server.poll() is None, _read(log)
                assert time.monotonic() < deadline_s, _read(log)
                time.sleep(0.02)
            yield found[1]
            server.send_signal(signal.SIGTERM)
            assert server.wait(STOP_TIMEOUT_S) == 0, _read(log)
        finally:
            server.kill()
            server.wait()


def _read(log: IO[str]) -> str:
    log.seek(0)
    return log.read()
