"""A process that tries bundles before this one loads them: what crashes or hangs there is refused, and nobody suffers.

The process is started for the first bundle, and ended where it stands idle.
"""

import os
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from latentry.v1 import manifest_pb2

from latentry_server.errors import BundleInvalidError
from latentry_server.repository.graphs import GraphOpener
from latentry_server.signals import describe_exit

_IDLE_S = 10.0
_NICENESS = 10  # requests come first
_PARENT_CHECK_S = 1.0


class Trial:
    """`GraphOpener.prepare` in a process of its own; `run` is called by one thread at a time."""

    def __init__(self, opener: GraphOpener, *, timeout_s: float) -> None:
        self._opener = opener
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._idle: threading.Timer | None = None
        self._closed = False

    def run(self, folder: Path, manifest: manifest_pb2.Manifest, target: Path) -> None:
        """Do as `GraphOpener.prepare`.

        Raises:
            BundleInvalidError: the first thing that is wrong, in one line; or the process died, or took too long.
            OSError: there is no room for it in `target`.
        """
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                error = self._ask(folder, manifest, target)
            except BaseException:
                self._end()
                raise
            self._idle = threading.Timer(_IDLE_S, self._end_idle)
            self._idle.daemon = True
            self._idle.start()
        if error is not None:
            raise error

    def close(self) -> None:
        """End the process, in the middle of a trial, too; no other is started."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        self._end_idle()

    def _ask(self, folder: Path, manifest: manifest_pb2.Manifest, target: Path) -> Exception | None:
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died idle, perhaps for want of memory: not for what this bundle is
        if self._connection is None and not self._closed:
            self._start()
        if self._closed:  # looked at after the start, since `close` cannot end a process that it does not see yet
            raise BundleInvalidError("the server is shutting down")
        assert self._connection is not None
        assert self._process is not None
        try:
            self._connection.send((folder, manifest.SerializeToString(), target))
            if not self._connection.poll(self._timeout_s):
                raise BundleInvalidError(f"trying it took longer than {self._timeout_s:g} s")
            answer: Exception | None = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise BundleInvalidError(f"trying it ended a process: {describe_exit(self._process.wait())}") from error
        return answer

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # A group of its own: a terminal's Ctrl-C is the server's business. -P: no module from the working folder.
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        try:
            self._connection.send(self._opener)
            self._connection.recv()  # it has imported what it needs; from now on the time is the bundle's
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"no process to try it in: {describe_exit(self._process.wait())}") from error

    def _end_idle(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _serve(connection: Connection) -> None:
    """Answer each bundle with the error that refuses it, or None; end with the process that asks."""
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        opener: GraphOpener = connection.recv()
        connection.send(None)
        while True:
            folder, manifest, target = connection.recv()
            try:
                opener.prepare(folder, manifest_pb2.Manifest.FromString(manifest), target)
            except (BundleInvalidError, OSError) as error:
                connection.send(error)
            else:
                connection.send(None)
    except (EOFError, ConnectionError):
        return


def _end_with_parent(parent: int) -> None:
    """End a trial that hangs when nobody waits for it any more."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
