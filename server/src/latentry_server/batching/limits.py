"""How many rows run together and how many may wait."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingLimits:
    """Rows of one run, rows that may wait, and how long an idle session waits for more rows than it has."""

    max_batch_rows: int = 256
    max_queue_rows: int = 16384
    max_delay_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.max_batch_rows < 1:
            raise ValueError(f"max_batch_rows: expected at least 1, got {self.max_batch_rows}")
        if self.max_queue_rows < self.max_batch_rows:
            raise ValueError(
                f"max_queue_rows: expected at least max_batch_rows ({self.max_batch_rows}), got {self.max_queue_rows}"
            )
        if self.max_delay_ms < 0:
            raise ValueError(f"max_delay_ms: expected at least 0, got {self.max_delay_ms}")
