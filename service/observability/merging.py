"""The metrics of several processes as those of one service.

prometheus-client's own way keeps every number in a file that all processes share, which makes each
touch dearer and knows no collectors. Here the process that is asked asks the others.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

# A gauge that is not here says the same in every process, or is true only if all say so.
SUMMED_GAUGES: Final = frozenset(
    ("rfvae_requests_in_flight", "rfvae_queue_rows", "rfvae_queue_bytes", "rfvae_model_lanes")
)
LONGEST_GAUGES: Final = frozenset(("rfvae_reading_wait_seconds",))  # one busy process is enough
COUNTED_BY_EACH: Final = frozenset(("rfvae_model_loads",))  # every process loads every version
Snapshot = Sequence[Any]  # of name, documentation, type and samples of each family of metrics
Series = tuple[str, tuple[tuple[str, str], ...]]  # the name of a sample, and its labels


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """All that a registry holds now, for `merge`, as JSON can carry it."""
    return [
        (family.name, family.documentation, family.type, [sample[:3] for sample in family.samples])
        for family in registry.collect()
    ]


def merge(snapshots: Iterable[Snapshot]) -> bytes:
    """The sums of several snapshots in Prometheus' text format.

    Args:
        snapshots: of processes that run the same code, in the order of their families.
    """
    families: dict[str, tuple[str, str, dict[Series, float]]] = {}
    for one in snapshots:
        for name, documentation, kind, samples in one:
            _, _, values = families.setdefault(name, (documentation, kind, {}))
            for sample, labels, value in samples:
                series = (sample, tuple(labels.items()))
                seen = values.get(series)
                values[series] = value if seen is None else _rule(name, kind, sample)(seen, value)
    return generate_latest(_Merged(families))


def _rule(family: str, kind: str, sample: str) -> Callable[[float, float], float]:
    if sample.endswith("_created"):
        return min
    if family in COUNTED_BY_EACH | LONGEST_GAUGES:
        return max
    if kind != "gauge" or family in SUMMED_GAUGES:
        return _add
    return min


def _add(first: float, second: float) -> float:
    return first + second


class _Merged(Collector):
    def __init__(self, families: dict[str, Any]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for name, (documentation, kind, values) in self._families.items():
            family = Metric(name, documentation, kind)
            for (sample, labels), value in values.items():
                family.add_sample(sample, dict(labels), value)
            yield family
