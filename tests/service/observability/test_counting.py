"""Light counters say the same as those of prometheus-client."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.observability.counting import Distributions, Tally

BOUNDS = (0.5, 1.0, 2.5)


def _text(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@pytest.mark.parametrize("label", ["", "stage"])
def test_distributions_read_as_a_histogram_of_prometheus_client(label: str) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    values = ["decode", "infer"] if label else [""]
    seen = Distributions("rfvae_x_seconds", "Text", bounds=BOUNDS, label=label, values=values)
    ours.register(seen)
    labels = [label] if label else []
    histogram = Histogram("rfvae_x_seconds", "Text", labels, buckets=BOUNDS, registry=theirs)
    for value in values:
        child = histogram.labels(value) if label else histogram
        for number in (0.0, 0.25, 0.5, 0.75, 1.0, 2.5, 3.0, 100.0):
            seen.by_value[value].observe(number)
            child.observe(number)

    assert _text(ours) == _text(theirs)


def test_a_tally_reads_as_a_counter_of_prometheus_client() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    values = [("encode", "ok"), ("encode", "error")]
    tally = Tally("rfvae_requests", "Text", ["operation", "outcome"], values)
    ours.register(tally)
    counter = Counter("rfvae_requests", "Text", ["operation", "outcome"], registry=theirs)
    for pair in values:
        counter.labels(*pair)
    tally.counts["encode", "ok"] += 2
    counter.labels("encode", "ok").inc(2)

    assert _text(ours) == _text(theirs)
