"""OpenTelemetry traces: a span for each request, one for each batch, linked to each other.

Only here is OpenTelemetry imported, and only when the setting `otlp_endpoint` asks for it. Ids of
W3C `traceparent` are taken from the caller.
"""

import time
from importlib.metadata import version
from typing import Any, Final, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from service.batching.observer import BatchStats, ExpireStage, Observer, RejectReason
from service.observability.metrics import outcome_of
from service.observability.record import RequestRecord, record_of

TRACES_PATH: Final = "/v1/traces"
EXPORT_TIMEOUT_S: Final = 3.0
_NO_PARENT: Final = Context()
_PROPAGATION_HEADERS: Final = (b"traceparent", b"tracestate")


class Tracing:
    """Makes the two kinds of spans and sends them where `processor` says.

    Args:
        ratio: share of the requests without a caller's decision that are traced, 0 to 1.
    """

    def __init__(self, processor: SpanProcessor, *, ratio: float = 1.0) -> None:
        self._processor = processor
        self._requests = self._tracer(ParentBased(TraceIdRatioBased(ratio)))
        self._batches = self._tracer(ALWAYS_ON)  # asked for only when a traced request was in it

    @classmethod
    def to_collector(cls, endpoint: str, *, ratio: float) -> Self:
        """Sends spans in the background by OTLP over HTTP; what the collector refuses is lost."""
        address = endpoint.rstrip("/").removesuffix(TRACES_PATH) + TRACES_PATH
        exporter = OTLPSpanExporter(address, timeout=EXPORT_TIMEOUT_S)
        return cls(BatchSpanProcessor(exporter), ratio=ratio)

    def layer(self, app: ASGIApp) -> ASGIApp:
        """The ASGI layer that opens and closes the spans of requests."""
        return RequestSpans(app, self._requests)

    def observer(self, counting: Observer) -> Observer:
        """An observer that makes the spans of batches, and tells `counting` everything."""
        return BatchSpans(counting, self._batches)

    def close(self) -> None:
        """Sends what is left; blocks for as long as the collector takes, up to its time-out."""
        self._processor.shutdown()

    def _tracer(self, sampler: Sampler) -> Tracer:
        about = {"service.name": "rfvae", "service.version": version("rfvae")}
        provider = TracerProvider(sampler, Resource.create(about), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer("rfvae", version("rfvae"))


class RequestSpans:
    """One span for each POST; probes and pages would only be noise."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        record = record_of(scope)
        span = self._tracer.start_span(
            "request", context=self._parent(record.headers), kind=SpanKind.SERVER
        )
        if span.is_recording():
            record.trace_id = format_trace_id(span.get_span_context().trace_id)
            record.origin = span
        try:
            await self._app(scope, receive, send)
        finally:
            _describe(span, scope["method"], record)
            span.end()

    def _parent(self, headers: dict[bytes, bytes]) -> Context:
        given = {
            name.decode(): headers[name].decode("latin-1")
            for name in _PROPAGATION_HEADERS
            if name in headers
        }
        return self._propagator.extract(given, _NO_PARENT) if given else _NO_PARENT


class BatchSpans:
    """A root span for each batch that served a traced request, with links both ways."""

    def __init__(self, counting: Observer, tracer: Tracer) -> None:
        self._counting = counting
        self._tracer = tracer

    def batch_finished(self, batch: BatchStats) -> None:
        """A batch ran."""
        self._counting.batch_finished(batch)
        spans = [origin for origin in batch.origins if isinstance(origin, Span)]
        if not spans:
            return
        ended_ns = time.time_ns()
        span = self._tracer.start_span(
            f"batch {batch.operation}",
            context=_NO_PARENT,
            links=[Link(span.get_span_context()) for span in spans],
            start_time=ended_ns - int(batch.infer_s * 1e9),
            attributes={
                "rfvae.rows": batch.rows,
                "rfvae.padded_rows": batch.padded_rows,
                "rfvae.requests": batch.requests,
                "rfvae.infer_s": batch.infer_s,
            },
        )
        for one in spans:
            one.add_link(span.get_span_context())
        span.end(ended_ns)

    def batch_failed(self, operation: str, requests: int, error: Exception) -> None:
        """Passed on, like the next three: the requests' own spans say how they ended."""
        self._counting.batch_failed(operation, requests, error)

    def rejected(self, operation: str, reason: RejectReason) -> None:
        """Passed on."""
        self._counting.rejected(operation, reason)

    def expired(self, operation: str, stage: ExpireStage) -> None:
        """Passed on."""
        self._counting.expired(operation, stage)

    def cancelled(self, operation: str) -> None:
        """Passed on."""
        self._counting.cancelled(operation)


def _describe(span: Span, method: str, record: RequestRecord) -> None:
    if not span.is_recording():
        return
    span.update_name(f"{method} {record.operation}")
    facts: dict[str, Any] = {
        "http.request.method": method,
        "http.response.status_code": record.status,
        "rfvae.operation": record.operation,
        "rfvae.outcome": outcome_of(record.status),
        "rfvae.request_id": record.request_id,
    }
    if record.model:
        facts |= {"rfvae.model": record.model, "rfvae.version": record.version}
    if record.problem:
        facts["rfvae.problem"] = record.problem
    if record.infer_s:
        facts |= {
            "rfvae.rows": record.rows,
            "rfvae.batch_rows": record.batch_rows,
            "rfvae.decode_s": record.decode_s,
            "rfvae.queue_s": record.queue_s,
            "rfvae.infer_s": record.infer_s,
            "rfvae.encode_s": record.encode_s,
        }
    span.set_attributes(facts)
    if record.status >= 500:
        span.set_status(StatusCode.ERROR, record.problem)
