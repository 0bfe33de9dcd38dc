"""Counters and histograms that cost little to touch, for what is counted once a request.

Those of prometheus-client take a lock and look through all buckets each time. These belong to one
thread, the event loop's; a scrape may read them from another, since each number is read whole.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally(Collector):
    """A counter with labels whose values are known beforehand.

    Attributes:
        counts: by the values of the labels; add to them.
    """

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str], values: Iterable[tuple[str, ...]]
    ) -> None:
        self._description = (name, help_text)
        self._labels: Final = labels
        self.counts = dict.fromkeys(values, 0)

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client asks for at a scrape."""
        family = CounterMetricFamily(*self._description, labels=self._labels)
        for values, count in self.counts.items():
            family.add_metric(values, count)
        yield family


class Distribution:
    """How often values fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value; a bucket holds what is not above its bound."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Distributions(Collector):
    """A histogram with one label whose values are known beforehand, or with none.

    Attributes:
        by_value: the distribution of each value of the label; `""` where there is none.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        *,
        bounds: Sequence[float],
        label: str = "",
        values: Iterable[str] = ("",),
    ) -> None:
        self._description = (name, help_text)
        self._labels: Final = [label] if label else []
        self._names: Final = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]
        self.by_value = {value: Distribution(bounds) for value in values}

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client asks for at a scrape."""
        family = HistogramMetricFamily(*self._description, labels=self._labels)
        for value, seen in self.by_value.items():
            total = seen.sum
            cumulated = accumulate(seen.counts.copy())
            buckets = list(zip(self._names, cumulated, strict=True))
            family.add_metric([value] if self._labels else [], buckets, total)
        yield family
