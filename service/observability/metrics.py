"""The Prometheus metrics of one service, on a registry of its own, with a fixed set of series."""

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)

from service.batching.observer import BatchStats, ExpireStage, RejectReason
from service.observability.counting import Distributions, Tally
from service.observability.logging import LimitedError
from service.observability.merging import Snapshot, snapshot
from service.observability.model_metrics import ModelMetrics
from service.observability.record import STAGES, RequestRecord

OPERATIONS: Final = (
    "encode",
    "factors",
    "decode",
    "traverse",
    "reconstruct",
    "interpolate",
    "swap",
    "oip",
    "models",
    "health",
    "metrics",
    "docs",
    "other",
)
INFERENCE_OPERATIONS: Final = frozenset(OPERATIONS[:8])
OUTCOMES: Final = (
    "ok",
    "bad_request",
    "rejected",
    "client_gone",
    "unavailable",
    "deadline",
    "error",
)
REJECTIONS: Final = {
    "queue-full": "queue_full",
    "queue-too-long": "queue_too_long",
    "deadline-exceeded": "deadline",
    "draining": "draining",
    "not-ready": "not_ready",
    "payload-too-large": "body_too_large",
    "too-many-pixels": "too_many_pixels",
    "too-many-rows": "too_many_rows",
    "request-timeout": "slow_body",
    "client-gone": "client_gone",
    "unauthorized": "unauthorized",
}
REFUSED_CONNECTIONS: Final = (
    *("connections", "slow_head", "head_too_large", "malformed"),  # before they were requests
    "slow_reader",
)
SECONDS: Final = (
    *(0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01),
    *(0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode()
_OUTCOMES_OF: Final = {429: "rejected", 499: "client_gone", 503: "unavailable", 504: "deadline"}


def outcome_of(status: int) -> str:
    """The closed set of outcomes, from the HTTP status."""
    if status < 400:
        return "ok"
    return _OUTCOMES_OF.get(status, "bad_request" if status < 500 else "error")


class Metrics:
    """Counts requests and batches; `models` does so for models. Every series exists at once."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._declare_requests()
        self._declare_batches()
        self.models = ModelMetrics(self._registry)

    def _declare_requests(self) -> None:
        requests = Tally(
            "rfvae_requests",
            "Requests answered, by operation and outcome, count",
            labels=["operation", "outcome"],
            values=[(operation, outcome) for operation in OPERATIONS for outcome in OUTCOMES],
        )
        duration = Distributions(
            "rfvae_request_duration_seconds",
            "Time from the request's headers to the end of its answer, seconds",
            bounds=SECONDS,
            label="operation",
            values=OPERATIONS,
        )
        stage = Distributions(
            "rfvae_stage_duration_seconds",
            "Time of one stage of a request that ran inference, seconds",
            bounds=SECONDS,
            label="stage",
            values=STAGES,
        )
        for collector in (requests, duration, stage):
            self._registry.register(collector)
        rejected = Counter(
            "rfvae_rejected",
            "Requests that were refused or given up, by reason, count",
            ["reason"],
            registry=self._registry,
        )
        self._requests = requests.counts
        self._duration = duration.by_value
        self._stages = [stage.by_value[name] for name in STAGES]
        self._rejected = {
            problem: rejected.labels(reason) for problem, reason in REJECTIONS.items()
        }
        self._refused = {reason: rejected.labels(reason) for reason in REFUSED_CONNECTIONS}
        self._ready = Gauge(
            "rfvae_ready",
            "1 when requests that name no model can be answered, as /readyz says, else 0",
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "rfvae_requests_in_flight", "Requests not yet answered, count", registry=self._registry
        )

    def _declare_batches(self) -> None:
        batch_rows = Distributions(
            "rfvae_batch_rows", "Rows of each inference batch before padding, rows", bounds=ROWS
        )
        self._registry.register(batch_rows)
        self._batch_rows = batch_rows.by_value[""]
        self._failed_batches = Counter(
            "rfvae_failed_batches",
            "Batches that the runtime could not run, count",
            registry=self._registry,
        )
        self._batch_failure = LimitedError("batch_failed")
        self._queue_rows = Gauge(
            "rfvae_queue_rows", "Rows that wait for inference, rows", registry=self._registry
        )
        self._queue_bytes = Gauge(
            "rfvae_queue_bytes", "Bytes of rows that wait for inference", registry=self._registry
        )
        self._reading_wait = Gauge(
            "rfvae_reading_wait_seconds",
            "Time that reading the large bodies that are here takes, seconds",
            registry=self._registry,
        )

    def watch(
        self,
        in_flight: Callable[[], float],
        queue_rows: Callable[[], float],
        queue_bytes: Callable[[], float],
        reading_wait_s: Callable[[], float],
        is_ready: Callable[[], bool],
    ) -> None:
        """Reads readiness and the gauges of load from these functions at each scrape."""
        self._ready.set_function(is_ready)
        self._in_flight.set_function(in_flight)
        self._queue_rows.set_function(queue_rows)
        self._queue_bytes.set_function(queue_bytes)
        self._reading_wait.set_function(reading_wait_s)

    def observe_request(self, record: RequestRecord, duration_s: float) -> None:
        """Counts one finished request."""
        operation = record.operation
        self._requests[operation, outcome_of(record.status)] += 1
        self._duration[operation].observe(duration_s)
        if record.problem in self._rejected:
            self._rejected[record.problem].inc()
        if record.infer_s:
            decode, queue, infer, encode = self._stages
            decode.observe(record.decode_s)
            queue.observe(record.queue_s)
            infer.observe(record.infer_s)
            encode.observe(record.encode_s)

    def reject(self, reason: str) -> None:
        """Counts a connection that was refused or cut; one of REFUSED_CONNECTIONS."""
        self._refused[reason].inc()

    def batch_finished(self, batch: BatchStats) -> None:
        """Counts one batch that ran; part of the batcher's Observer, like the next four."""
        self._batch_rows.observe(batch.rows)

    def batch_failed(self, operation: str, requests: int, error: Exception) -> None:
        """Counts one batch that raised, and logs why: its requests may all succeed when retried."""
        self._failed_batches.inc()
        self._batch_failure.log(error, operation=operation, requests=requests)

    def rejected(self, operation: str, reason: RejectReason) -> None:
        """Nothing: the request is counted when its answer is out, like the next two."""

    def expired(self, operation: str, stage: ExpireStage) -> None:
        """Nothing."""

    def cancelled(self, operation: str) -> None:
        """Nothing."""

    def render(self) -> bytes:
        """All series in Prometheus' text format, after `models.flush()`; in any thread."""
        return generate_latest(self._registry)

    def snapshot(self) -> Snapshot:
        """All series as `merging.merge` takes them; on the event loop only."""
        self.models.flush()
        return snapshot(self._registry)
