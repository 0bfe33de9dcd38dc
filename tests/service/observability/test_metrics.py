"""Names, buckets and the fixed number of series."""

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import DeadlineExceeded, QueueFull, QueueTooLong, ServiceError, TooManyRows
from service.observability.metrics import OPERATIONS, OUTCOMES, Metrics, outcome_of
from service.observability.model_metrics import ReadyModel
from service.observability.record import RequestRecord

DESIGNED = {
    "rfvae_requests",
    "rfvae_request_duration_seconds",
    "rfvae_stage_duration_seconds",
    "rfvae_batch_rows",
    "rfvae_queue_rows",
    "rfvae_rejected",
    "rfvae_requests_in_flight",
    "rfvae_model_info",
    "rfvae_ready",
    "rfvae_model_ready",
    "rfvae_relevant_dims",
    "rfvae_factor_info",
    "rfvae_latent_out_of_range",
    "rfvae_reconstruction_novelty",
}


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def _record(**facts: object) -> RequestRecord:
    record = RequestRecord("id", 0.0, {}, operation="encode", status=200)
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def _tiny() -> ReadyModel:
    bound = np.ones(4, np.float32)
    return ReadyModel("tiny", 1, "cpu", factors={0: "scale", 2: "x"}, low=-bound, high=bound)


def test_metrics_have_the_designed_names_from_the_start() -> None:
    families = {
        family.name for family in text_string_to_metric_families(Metrics().render().decode())
    }

    assert families >= DESIGNED


def test_metrics_series_do_not_grow_with_requests() -> None:
    metrics = Metrics()
    metrics.models.show(["tiny"], [_tiny()])
    before = set(_samples(metrics))

    for operation in OPERATIONS:
        for status in (200, 400, 404, 413, 422, 429, 499, 500, 503, 504):
            metrics.observe_request(
                _record(operation=operation, status=status, problem="any", infer_s=0.1), 0.1
            )
    metrics.models.observe_mu("tiny", 1, np.full((2, 4), 9, np.float32))
    metrics.models.observe_novelty("tiny", [50.0])

    assert set(_samples(metrics)) == before


def test_metrics_count_a_request_with_its_stages() -> None:
    metrics = Metrics()
    metrics.observe_request(_record(infer_s=0.002, queue_s=0.0001), 0.003)

    samples = _samples(metrics)
    labels = (("operation", "encode"), ("outcome", "ok"))
    assert samples["rfvae_requests_total", labels] == 1
    infer = (("stage", "infer"),)
    assert samples["rfvae_stage_duration_seconds_sum", infer] == 0.002
    fastest = (("le", "0.00025"), ("stage", "queue"))
    assert samples["rfvae_stage_duration_seconds_bucket", fastest] == 1


def test_metrics_do_not_count_stages_of_a_request_without_inference() -> None:
    metrics = Metrics()
    metrics.observe_request(_record(status=400, problem="malformed-input"), 0.001)

    assert _samples(metrics)["rfvae_stage_duration_seconds_count", (("stage", "infer"),)] == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QueueFull, "queue_full"),
        (QueueTooLong, "queue_too_long"),
        (DeadlineExceeded, "deadline"),
        (TooManyRows, "too_many_rows"),
    ],
)
def test_metrics_count_a_rejection_by_its_reason(error: type[ServiceError], reason: str) -> None:
    metrics = Metrics()
    metrics.observe_request(_record(status=error.status, problem=error.type), 0.001)

    assert _samples(metrics)["rfvae_rejected_total", (("reason", reason),)] == 1


def test_metrics_read_readiness_and_load_at_each_scrape() -> None:
    metrics = Metrics()
    metrics.watch(
        in_flight=lambda: 3,
        queue_rows=lambda: 40,
        queue_bytes=lambda: 5000,
        reading_wait_s=lambda: 1.5,
        is_ready=lambda: True,
    )

    samples = _samples(metrics)
    assert samples["rfvae_ready", ()] == 1
    assert samples["rfvae_requests_in_flight", ()] == 3
    assert samples["rfvae_queue_rows", ()] == 40
    assert samples["rfvae_queue_bytes", ()] == 5000
    assert samples["rfvae_reading_wait_seconds", ()] == 1.5


def test_outcome_of_every_status_is_in_the_closed_set() -> None:
    assert {outcome_of(status) for status in range(200, 600)} == set(OUTCOMES)


def test_metrics_buckets_reach_from_a_quarter_millisecond_to_ten_seconds() -> None:
    bounds = [
        float(dict(labels)["le"])
        for name, labels in _samples(Metrics())
        if name == "rfvae_request_duration_seconds_bucket" and dict(labels)["operation"] == "encode"
    ]

    assert (min(bounds), sorted(bounds)[-2], len(bounds)) == (0.00025, 10.0, 21)
