"""The metrics of several processes are those of one that had done it all."""

import re

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.observer import BatchStats
from service.observability.merging import Snapshot, merge
from service.observability.metrics import OPERATIONS, Metrics
from service.observability.model_metrics import ReadyModel
from service.observability.record import RequestRecord

MODEL = ReadyModel(
    "tiny", 1, "CPUExecutionProvider", {1: "x"}, -np.ones(2, np.float32), np.ones(2, np.float32)
)
STATUSES = st.sampled_from((200, 400, 429, 499, 503, 504))
REQUESTS = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), STATUSES, st.sampled_from((0.0, 0.25, 2.0))), max_size=12
)


def _process(requests: list[tuple[str, int, float]]) -> Metrics:
    """Metrics of a process that answered these: operation, status and seconds, powers of two."""
    metrics = Metrics()
    metrics.models.show(["tiny"], [MODEL])
    for operation, status, seconds in requests:
        record = RequestRecord("id", 0.0, {}, operation, status=status, infer_s=seconds)
        record.problem = "queue-full" if status == 429 else ""
        metrics.observe_request(record, seconds)
        metrics.models.observe_novelty("tiny", [50.0])
    return metrics


def _carried(metrics: Metrics) -> Snapshot:
    """As it comes over the link."""
    snapshot: Snapshot = orjson.loads(orjson.dumps(metrics.snapshot()))
    return snapshot


def _lines(text: bytes, without: str = "_created") -> list[str]:
    return [line for line in text.decode().splitlines() if not re.search(without, line)]


@given(REQUESTS, REQUESTS)
def test_merged_counts_are_those_of_one_process_that_did_it_all(
    first: list[tuple[str, int, float]], second: list[tuple[str, int, float]]
) -> None:
    together = _process(first + second)
    merged = merge([_process(first).snapshot(), _carried(_process(second))])

    lanes = "_created|^rfvae_model_lanes"
    assert _lines(merged, lanes) == _lines(together.render(), lanes)


def test_one_process_is_rendered_as_it_is() -> None:
    alone = _process([("encode", 200, 0.25)])

    assert merge([alone.snapshot()]) == alone.render()


@pytest.mark.parametrize(
    ("series", "value"),
    [
        ('rfvae_model_lanes{model="tiny"}', "2.0"),
        ('rfvae_model_threads{model="tiny"}', "1.0"),
        ("rfvae_requests_in_flight", "7.0"),
        ("rfvae_queue_rows", "70.0"),
        ("rfvae_queue_bytes", "700.0"),
        ("rfvae_reading_wait_seconds", "0.4"),
        ('rfvae_model_loads_total{model="tiny",outcome="loaded"}', "1.0"),
        ("rfvae_batch_rows_sum", "24.0"),
    ],
)
def test_load_is_summed_and_what_each_process_says_of_the_models_is_not(
    series: str, value: str
) -> None:
    first, second = _process([]), _process([])
    for metrics, load in ((first, 3), (second, 4)):
        metrics.watch(  # type: ignore[misc]
            in_flight=lambda n=load: n,
            queue_rows=lambda n=load: 10 * n,
            queue_bytes=lambda n=load: 100 * n,
            reading_wait_s=lambda n=load: n / 10,
            is_ready=lambda: True,
        )
        metrics.models.observe_loads(loaded=["tiny"], refused=[])
        metrics.batch_finished(BatchStats("encode", 12, 16, 1, 0.1))

    assert f"{series} {value}" in _lines(merge([first.snapshot(), second.snapshot()]))


@pytest.mark.parametrize(("second_is_ready", "value"), [(True, "1.0"), (False, "0.0")])
def test_the_service_is_ready_when_every_process_is(second_is_ready: bool, value: str) -> None:
    processes = [_process([]), _process([])]
    for metrics, is_ready in zip(processes, (True, second_is_ready), strict=True):
        metrics.watch(lambda: 0, lambda: 0, lambda: 0, lambda: 0, lambda ready=is_ready: ready)  # type: ignore[misc]

    assert f"rfvae_ready {value}" in _lines(merge(one.snapshot() for one in processes))


def test_a_model_is_ready_when_it_is_so_in_every_process() -> None:
    ready, loading = _process([]), Metrics()
    loading.models.show(["tiny"], [])

    text = merge([ready.snapshot(), loading.snapshot()])

    assert 'rfvae_model_ready{model="tiny"} 0.0' in _lines(text)
    assert 'rfvae_images_total{model="tiny"} 0.0' in _lines(text)
