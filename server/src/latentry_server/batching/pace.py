"""Which runs are so short that the event loop may as well wait for them."""

import threading
import time

from latentry_server.sessions.session import RunOptions

# A hop to a thread and back costs about as much, and half a dozen requests can be answered meanwhile.
SHORT_S = 250e-6
# So many runs of a size must have been short before.
NUM_PROOFS = 8
# One that takes longer may have been interrupted by what else the machine does; so many in a row have not.
NUM_DOUBTS = 3
# A short run that takes this long hangs.
HANGS_S = 1.0


class Pace:
    """Whether a session's runs are short, by their rows; sizes up to the same power of two count as one."""

    def __init__(self) -> None:
        self._proofs: dict[int, int] = {}
        self._doubts: dict[int, int] = {}

    def is_short(self, rows: int) -> bool:
        """Tell whether runs of so many rows are known to be short."""
        return self._proofs.get(_size(rows), 0) >= NUM_PROOFS

    def observe_in_thread(self, rows: int, run_s: float) -> None:
        """Note a run's time in a thread: a long one proves nothing, for it may have waited for the interpreter."""
        if run_s <= SHORT_S:
            size = _size(rows)
            self._proofs[size] = self._proofs.get(size, 0) + 1

    def observe_here(self, rows: int, run_s: float) -> None:
        """Note a run's time on the event loop; after several long ones in a row, runs have to prove themselves anew."""
        size = _size(rows)
        self._doubts[size] = self._doubts.get(size, 0) + 1 if run_s > SHORT_S else 0
        if self._doubts[size] >= NUM_DOUBTS:
            self.distrust(rows)

    def distrust(self, rows: int) -> None:
        """Let runs of so many rows prove themselves anew."""
        self._proofs.pop(_size(rows), None)
        self._doubts.pop(_size(rows), None)


def _size(rows: int) -> int:
    return (rows - 1).bit_length()


class Watchdog:
    """Ends a run on the event loop that hangs there: nothing on the loop itself could."""

    def __init__(self) -> None:
        self._current: tuple[RunOptions, float] | None = None
        self._thread: threading.Thread | None = None

    def begin(self, options: RunOptions) -> None:
        """Watch a run from now on."""
        self._current = options, time.monotonic()
        if self._thread is None:
            thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            thread.start()  # may fail, where the system has no more threads
            self._thread = thread

    def end(self) -> None:
        """Leave it alone: it has ended."""
        self._current = None

    def _watch(self) -> None:
        while True:
            time.sleep(HANGS_S / 2)
            if (current := self._current) is not None:
                options, begun_s = current
                if time.monotonic() - begun_s > HANGS_S:
                    options.terminate = True


WATCHDOG = Watchdog()
"""The process's one: its event loop runs one graph at a time."""
