"""Counters and histograms that one thread adds to.

prometheus_client's own take a lock for each of a dozen additions a call, which costs as much as running a small graph.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Add one."""
        self.value += 1


class Distribution:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Add a value."""
        self.sum += value
        self.counts[bisect_left(self._bounds, value)] += 1


Series = TypeVar("Series", Tally, Distribution)


class _Family(Collector, Generic[Series]):
    """The series of one metric, by the values of its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, **labels: str) -> Series:
        """Look up the series of these labels, of all of which it has a value; made where there is none."""
        values = tuple(labels[name] for name in self._labels)
        if values not in self._series:
            self._series[values] = self._make()
        return self._series[values]

    def remove_by_labels(self, labels: dict[str, str]) -> None:
        """Drop every series that has these values, whatever else it has."""
        for values in list(self._series):
            if labels.items() <= dict(zip(self._labels, values, strict=True)).items():
                del self._series[values]

    def _make(self) -> Series:
        raise NotImplementedError


class Counter(_Family[Tally]):
    """A counter; its name ends with `_total`."""

    def collect(self) -> Iterable[Metric]:
        """Return all series; called in other threads, too."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.value)
        return [family]

    def _make(self) -> Tally:
        return Tally()


class Histogram(_Family[Distribution]):
    """A histogram."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._bounds = tuple(bounds)
        super().__init__(name, text, labels, registry)

    def collect(self) -> Iterable[Metric]:
        """Return all series; called in other threads, too."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, series in list(self._series.items()):
            family.add_metric(values, list(zip(bounds, accumulate(series.counts), strict=True)), series.sum)
        return [family]

    def _make(self) -> Distribution:
        return Distribution(self._bounds)
