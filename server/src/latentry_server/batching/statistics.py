"""What a graph has done since it was loaded, in sums that cost a request next to nothing."""

import time
from dataclasses import dataclass

from latentry_server.batching.queue import Ran


@dataclass(slots=True)
class GraphStatistics:
    """Sums over a graph's requests and runs; a run answers the rows of one or more requests.

    `queue_s` and `compute_s` are the answered requests' own: those that shared a run each count all of its time.
    """

    requests: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    failed_requests: int = 0
    failed_s: float = 0.0
    runs: int = 0
    rows: int = 0
    last_run_unix_s: float = 0.0

    def count_run(self, rows: int) -> None:
        """Add a run that succeeded."""
        self.runs += 1
        self.rows += rows
        self.last_run_unix_s = time.time()

    def count_request(self, ran: Ran) -> None:
        """Add a request that was answered."""
        self.requests += 1
        self.queue_s += ran.queue_s
        self.compute_s += ran.compute_s

    def count_failure(self, elapsed_s: float) -> None:
        """Add a request that was refused, too late or failed."""
        self.failed_requests += 1
        self.failed_s += elapsed_s
