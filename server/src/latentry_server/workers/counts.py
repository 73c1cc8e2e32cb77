"""The metrics of all workers, added up."""

import asyncio
import operator
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from latentry_server.workers.process import WorkerProcess

Labels = tuple[tuple[str, str], ...]


class Counts(Collector):
    """Asks every worker when it is asked itself, in another thread than the event loop's."""

    def __init__(self, workers: Mapping[int, WorkerProcess]) -> None:
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._kept: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Return each metric, added up over the workers, those that have ended among them."""
        return add_up(asyncio.run_coroutine_threadsafe(self._ask(), self._loop).result())

    def keep(self, snapshot: Iterable[Metric]) -> None:
        """Keep what a worker that has ended had counted, so that no counter falls."""
        counters = [metric for metric in snapshot if metric.type != "gauge"]
        self._kept = add_up([self._kept, counters])

    async def _ask(self) -> list[list[Metric]]:
        await asyncio.gather(*(worker.count() for worker in self._workers.values()))
        return [self._kept, *(worker.counted for worker in self._workers.values())]


def add_up(snapshots: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Add the samples that have the same name and labels; of times and limits, which are no amounts, take the least."""
    metrics: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for metric in (metric for snapshot in snapshots for metric in snapshot):
        metrics.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type, metric.unit))
        of_metric = values.setdefault(metric.name, {})
        for sample in metric.samples:
            key, value = (sample.name, tuple(sample.labels.items())), sample.value
            of_metric[key] = _combine(sample.name)(of_metric[key], value) if key in of_metric else value
    for name, metric in metrics.items():
        metric.samples = [Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()]
    return list(metrics.values())


def _combine(sample: str) -> Callable[[float, float], float]:
    is_amount = not sample.endswith("_created") and sample not in {"process_start_time_seconds", "process_max_fds"}
    return operator.add if is_amount else min
