"""How many rows a batch should have."""

from collections import deque

# The most rows that are allowed, half of them, and so on down to this size are compared: in smaller batches it is the
# batches that cost, not their rows.
_SMALLEST = 32
# One batch in so many is of the next size in turn, to learn what a row costs there; more often among the first ones.
_TRY_EVERY, _TRY_EVERY_AT_FIRST, _NUM_FIRST = 16, 4, 128
# A size is judged by its last runs, once there are so many.
_MIN_RUNS, _MAX_RUNS = 8, 32
# Another size must save this part of a row's time.
_MIN_SAVING = 0.05


class BatchSize:
    """Finds the size at which a row costs least.

    For a small graph that is the largest. What a convolutional graph computes on its way soon outgrows the processor's
    caches: there smaller batches take less time a row, and their answers come sooner.
    """

    def __init__(self, max_rows: int) -> None:
        self.rows = max_rows
        """How many rows a batch should have, as far as is known."""
        self._sizes = [max_rows]
        while self._sizes[-1] >= 2 * _SMALLEST:
            self._sizes.append(self._sizes[-1] // 2)
        self._row_times_s = {size: deque[float](maxlen=_MAX_RUNS) for size in self._sizes}
        self._num_batches = 0
        self._num_usual = 0

    def next(self) -> int:
        """Tell how many rows the next batch may have: now and then another number, to learn."""
        self._num_batches += 1
        turn, place = divmod(self._num_batches, _TRY_EVERY if self._num_batches > _NUM_FIRST else _TRY_EVERY_AT_FIRST)
        return self.rows if place else self._sizes[turn % len(self._sizes)]

    def observe(self, rows: int, run_s: float) -> None:
        """Note a run's time, if it had about as many rows as one of the sizes."""
        size = next((size for size in self._sizes if size // 2 < rows <= size), None)
        if size is None or not self._is_sample(size):
            return
        self._row_times_s[size].append(run_s / rows)
        # What else the machine does makes runs longer, never shorter: the shortest ones can be compared.
        costs = {size: min(times) for size, times in self._row_times_s.items() if len(times) >= _MIN_RUNS}
        if self.rows in costs:
            best = min(costs, key=costs.__getitem__)
            if costs[best] < (1 - _MIN_SAVING) * costs[self.rows]:
                self.rows = best

    def _is_sample(self, size: int) -> bool:
        """Count the usual size no more often than the others are tried, so that the same times are compared."""
        if size != self.rows or self._num_batches <= _NUM_FIRST:
            return True
        self._num_usual += 1
        return self._num_usual % (_TRY_EVERY * len(self._sizes)) == 0
