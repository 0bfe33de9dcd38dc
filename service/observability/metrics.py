"""The Prometheus metrics of one service, on a registry of its own, with a fixed set of series."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from service.observability.record import STAGES, RequestRecord

OPERATIONS: Final = (
    "encode",
    "factors",
    "decode",
    "traverse",
    "reconstruct",
    "interpolate",
    "swap",
    "models",
    "health",
    "metrics",
    "docs",
    "other",
)
INFERENCE_OPERATIONS: Final = frozenset(OPERATIONS[:7])
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
    "deadline-exceeded": "deadline",
    "draining": "draining",
    "not-ready": "not_ready",
    "payload-too-large": "body_too_large",
    "too-many-pixels": "too_many_pixels",
    "too-many-rows": "too_many_rows",
    "request-timeout": "slow_body",
    "client-gone": "client_gone",
}
SECONDS: Final = (
    *(0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01),
    *(0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode()


def outcome_of(status: int) -> str:
    """The closed set of outcomes, from the HTTP status."""
    if status < 400:
        return "ok"
    special = {429: "rejected", 499: "client_gone", 503: "unavailable", 504: "deadline"}
    return special.get(status, "bad_request" if status < 500 else "error")


class Metrics:
    """Counts requests, batches and models; every series exists from the start or from a load."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._declare_requests()
        self._declare_batches()
        self._declare_models()

    def _declare_requests(self) -> None:
        requests = Counter(
            "rfvae_requests",
            "Requests answered, by operation and outcome, count",
            ["operation", "outcome"],
            registry=self._registry,
        )
        duration = Histogram(
            "rfvae_request_duration_seconds",
            "Time from the request's headers to the end of its answer, seconds",
            ["operation"],
            buckets=SECONDS,
            registry=self._registry,
        )
        stage = Histogram(
            "rfvae_stage_duration_seconds",
            "Time of one stage of a request that ran inference, seconds",
            ["stage"],
            buckets=SECONDS,
            registry=self._registry,
        )
        rejected = Counter(
            "rfvae_rejected",
            "Requests that were refused or given up, by reason, count",
            ["reason"],
            registry=self._registry,
        )
        self._requests = {
            (operation, outcome): requests.labels(operation, outcome)
            for operation in OPERATIONS
            for outcome in OUTCOMES
        }
        self._duration = {operation: duration.labels(operation) for operation in OPERATIONS}
        self._stages = [stage.labels(name) for name in STAGES]
        self._rejected = {
            problem: rejected.labels(reason) for problem, reason in REJECTIONS.items()
        }
        self._in_flight = Gauge(
            "rfvae_requests_in_flight", "Requests not yet answered, count", registry=self._registry
        )

    def _declare_batches(self) -> None:
        self.batch_rows = Histogram(
            "rfvae_batch_rows",
            "Rows of each inference batch before padding, rows",
            buckets=ROWS,
            registry=self._registry,
        )
        self._queue_rows = Gauge(
            "rfvae_queue_rows", "Rows that wait for inference, rows", registry=self._registry
        )
        self._queue_bytes = Gauge(
            "rfvae_queue_bytes", "Bytes of rows that wait for inference", registry=self._registry
        )

    def _declare_models(self) -> None:
        self._model_info = Gauge(
            "rfvae_model_info",
            "1 for each model version that is loaded, with the provider that runs it",
            ["model", "version", "provider"],
            registry=self._registry,
        )
        self._model_ready = Gauge(
            "rfvae_model_ready", "1 when the model can answer", ["model"], registry=self._registry
        )
        self._relevant_dims = Gauge(
            "rfvae_relevant_dims",
            "Relevant dimensions of the model, count",
            ["model"],
            registry=self._registry,
        )
        self._out_of_range = Counter(
            "rfvae_latent_out_of_range",
            "Posterior means outside the training data's 1 to 99 % range, count",
            ["model", "dim"],
            registry=self._registry,
        )
        self._novelty = Histogram(
            "rfvae_reconstruction_novelty",
            "Share of the training images that the model explains better than the image, percent",
            ["model"],
            buckets=PERCENTILES,
            registry=self._registry,
        )

    def watch(
        self,
        in_flight: Callable[[], float],
        queue_rows: Callable[[], float],
        queue_bytes: Callable[[], float],
    ) -> None:
        """Reads the three gauges of load from these functions at each scrape."""
        self._in_flight.set_function(in_flight)
        self._queue_rows.set_function(queue_rows)
        self._queue_bytes.set_function(queue_bytes)

    def observe_request(self, record: RequestRecord, duration_s: float) -> None:
        """Counts one finished request."""
        operation = record.operation
        self._requests[operation, outcome_of(record.status)].inc()
        self._duration[operation].observe(duration_s)
        if record.problem in self._rejected:
            self._rejected[record.problem].inc()
        if record.infer_s:
            decode, queue, infer, encode = self._stages
            decode.observe(record.decode_s)
            queue.observe(record.queue_s)
            infer.observe(record.infer_s)
            encode.observe(record.encode_s)

    def add_model(
        self, name: str, version: str, *, provider: str, latent_dim: int, relevant_dims: int
    ) -> None:
        """Creates the series of a model version that was loaded."""
        self._model_info.labels(name, version, provider).set(1)
        self._model_ready.labels(name).set(1)
        self._relevant_dims.labels(name).set(relevant_dims)
        self._novelty.labels(name)
        for dim in range(latent_dim):
            self._out_of_range.labels(name, str(dim))

    def remove_version(self, name: str, version: str, *, provider: str) -> None:
        """Drops the series of a version that left; the model's other series stay."""
        self._model_info.remove(name, version, provider)

    def set_ready(self, name: str, ready: bool) -> None:
        """Says whether a model can answer."""
        self._model_ready.labels(name).set(ready)

    def observe_out_of_range(self, name: str, counts: Iterable[tuple[int, int]]) -> None:
        """Adds, for each (dim, count), how many posterior means were out of range."""
        for dim, count in counts:
            if count:
                self._out_of_range.labels(name, str(dim)).inc(count)

    def observe_novelty(self, name: str, percentiles: Iterable[float]) -> None:
        """Adds the novelty of each image."""
        histogram = self._novelty.labels(name)
        for percentile in percentiles:
            histogram.observe(percentile)

    def render(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)
