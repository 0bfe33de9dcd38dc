"""One log line and one count a request, with stage times and without the content."""

import logging
from typing import Any

import pytest

from service.middleware.access_log import AccessLog
from service.middleware.request_id import RequestId
from service.observability.metrics import Metrics
from service.observability.record import record_of
from tests.service.asgi import call, http_scope


def _app(status: int, choice: Any = "all") -> RequestId:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        record = record_of(scope)
        record.operation, record.model, record.version, record.rows = "encode", "tiny", "1", 2
        record.infer_s = 0.001
        record.problem = "" if status < 400 else "invalid-value"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"12345"})

    layers = AccessLog(app, metrics=Metrics(), choice=choice, clock=lambda: 1.25)
    return RequestId(layers, clock=lambda: 1.0)


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [entry.fields for entry in caplog.records if entry.message == "request"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _capture(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="service")


async def test_access_log_has_id_rows_stages_and_outcome(caplog: pytest.LogCaptureFixture) -> None:
    await call(_app(200), http_scope("POST", headers={"x-request-id": "abc"}))

    assert _lines(caplog) == [
        {
            "request_id": "abc",
            "method": "POST",
            "operation": "encode",
            "status": 200,
            "outcome": "ok",
            "duration_ms": 250.0,
            "received_bytes": 0,
            "sent_bytes": 5,
            "model": "tiny",
            "version": "1",
            "rows": 2,
            "decode_ms": 0.0,
            "queue_ms": 0.0,
            "infer_ms": 1.0,
            "encode_ms": 0.0,
        }
    ]


async def test_access_log_names_the_problem_of_a_failed_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await call(_app(422), http_scope())

    assert [(line["problem"], line["outcome"]) for line in _lines(caplog)] == [
        ("invalid-value", "bad_request")
    ]


@pytest.mark.parametrize(
    ("choice", "status", "expected"),
    [("all", 200, 1), ("errors", 200, 0), ("errors", 404, 1), ("none", 500, 0)],
)
async def test_access_log_logs_what_the_setting_asks_for(
    caplog: pytest.LogCaptureFixture, choice: str, status: int, expected: int
) -> None:
    await call(_app(status, choice), http_scope())

    assert len(_lines(caplog)) == expected


async def test_access_log_counts_a_request_that_got_no_answer_as_client_gone() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return None

    metrics = Metrics()
    await call(RequestId(AccessLog(silent, metrics=metrics, choice="none")), http_scope())

    text = metrics.render().decode()
    assert 'rfvae_requests_total{operation="other",outcome="client_gone"} 1.0' in text
