"""Closes the record of each request: status, bytes and duration go to metrics and log."""

import time
from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.logging import RepeatedEvent
from service.observability.metrics import Metrics, outcome_of
from service.observability.record import REFUSAL, RequestRecord, record_of

AccessLogChoice = Literal["all", "errors", "none"]
_UNFINISHED = 499  # nobody got an answer


class AccessLog:
    """Counts every request and logs those that the setting asks for."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        choice: AccessLogChoice,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._first_logged_status = {"all": 0, "errors": 400, "none": 1000}[choice]
        self._clock = clock
        self._event = RepeatedEvent("request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = record_of(scope)

        def send_and_count(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            else:
                record.sent_bytes += len(message.get("body", b""))
            return send(message)  # not awaited here, which spares a coroutine

        try:
            await self._app(scope, receive, send_and_count)
        finally:
            self._close(scope, record)

    def _close(self, scope: Scope, record: RequestRecord) -> None:
        if (refusal := scope.get(REFUSAL)) is not None:
            record.request_id, record.status, record.problem = refusal
        record.status = record.status or _UNFINISHED
        duration_s = self._clock() - record.started_s
        self._metrics.observe_request(record, duration_s)
        if record.status >= self._first_logged_status:
            self._event.log(_fields(scope, record, duration_s))


def _fields(scope: Scope, record: RequestRecord, duration_s: float) -> dict[str, object]:
    fields: dict[str, object] = {
        "request_id": record.request_id,
        "method": scope["method"],
        "operation": record.operation,
        "status": record.status,
        "outcome": outcome_of(record.status),
        "duration_ms": _ms(duration_s),
        "received_bytes": record.received_bytes,
        "sent_bytes": record.sent_bytes,
    }
    if record.trace_id:
        fields["trace_id"] = record.trace_id
    if record.problem:
        fields["problem"] = record.problem
    if record.model:
        fields |= {"model": record.model, "version": record.version, "rows": record.rows}
    if record.infer_s:
        fields |= {
            "decode_ms": _ms(record.decode_s),
            "queue_ms": _ms(record.queue_s),
            "infer_ms": _ms(record.infer_s),
            "encode_ms": _ms(record.encode_s),
        }
    return fields


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
