"""Which runs are so short that the event loop may as well wait for them."""

import threading
import time

from latentry_server.sessions.session import RunOptions

# A hop to a thread and back costs about as much, and half a dozen requests can be answered meanwhile.
SHORT_S = 250e-6
# So many runs of a size must have been short before.
NUM_PROOFS = 8
# A short run that takes this long hangs.
HANGS_S = 1.0

_NEWEST_WEIGHT = 0.2


class Pace:
    """How long a session's runs take, by their rows; sizes up to the same power of two count as one."""

    def __init__(self) -> None:
        self._proofs: dict[int, int] = {}
        self._mean_s: dict[int, float] = {}

    def is_short(self, rows: int) -> bool:
        """Tell whether runs of so many rows are known to be short."""
        return self._proofs.get((rows - 1).bit_length(), 0) >= NUM_PROOFS

    def observe_in_thread(self, rows: int, run_s: float) -> None:
        """Note a run's time in a thread: a long one proves nothing, for it may have waited for the interpreter."""
        if run_s <= SHORT_S:
            size = (rows - 1).bit_length()
            self._proofs[size] = self._proofs.get(size, 0) + 1
            self._mean_s[size] = run_s

    def observe_here(self, rows: int, run_s: float) -> None:
        """Note a run's time on the event loop; where runs have become long, they have to prove themselves anew."""
        size = (rows - 1).bit_length()
        self._mean_s[size] += _NEWEST_WEIGHT * (run_s - self._mean_s[size])
        if self._mean_s[size] > SHORT_S:
            self.distrust(rows)

    def distrust(self, rows: int) -> None:
        """Let runs of so many rows prove themselves anew."""
        self._proofs.pop((rows - 1).bit_length(), None)


class Watchdog:
    """Ends a run on the event loop that hangs there: nothing on the loop itself could."""

    def __init__(self) -> None:
        self._current: tuple[RunOptions, float] | None = None
        self._thread: threading.Thread | None = None

    def begin(self, options: RunOptions) -> None:
        """Watch a run from now on."""
        self._current = options, time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

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
