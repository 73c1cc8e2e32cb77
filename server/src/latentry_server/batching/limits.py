"""How much runs together and how much may wait."""

from dataclasses import dataclass, field

from latentry_server.batching.room import Room


def _default_bytes_room() -> Room:
    return Room(512 * 2**20)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingLimits:
    """Rows of one run, what may wait, and for how long a session waits for more rows than it has, and may run.

    Rows that wait are counted for each graph, bytes in the one room of all that have these limits.
    """

    max_batch_rows: int = 256
    max_queue_rows: int = 16384
    bytes_room: Room = field(default_factory=_default_bytes_room)
    max_delay_ms: float = 0.0
    max_run_s: float = 120.0

    def __post_init__(self) -> None:
        if self.max_batch_rows < 1:
            raise ValueError(f"max_batch_rows: expected at least 1, got {self.max_batch_rows}")
        if self.max_queue_rows < self.max_batch_rows:
            raise ValueError(
                f"max_queue_rows: expected at least max_batch_rows ({self.max_batch_rows}), got {self.max_queue_rows}"
            )
        if self.max_delay_ms < 0:
            raise ValueError(f"max_delay_ms: expected at least 0, got {self.max_delay_ms}")
        if not self.max_run_s > 0:
            raise ValueError(f"max_run_s: expected more than 0, got {self.max_run_s}")
