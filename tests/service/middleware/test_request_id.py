"""The facts that every answer carries: id, stage times, model, end of the connection."""

import re
from typing import Any

import pytest

from service.middleware.request_id import RequestId
from service.observability.record import record_of
from tests.service.asgi import call, http_scope


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b""})


async def _encode(scope: Any, receive: Any, send: Any) -> None:
    record = record_of(scope)
    record.operation, record.model, record.version = "encode", "tiny", "3"
    record.decode_s, record.queue_s, record.infer_s, record.encode_s = 0.001, 0.002, 0.003, 0.004
    await _answer(scope, receive, send)


async def test_request_id_keeps_a_sane_incoming_id() -> None:
    scope = http_scope(headers={"X-Request-ID": "trace-1:a/b"})

    assert (await call(RequestId(_answer), scope)).headers["x-request-id"] == "trace-1:a/b"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, 'quo"te', "line\nbreak"])
async def test_request_id_replaces_an_id_that_is_not_sane(given: str) -> None:
    made = (await call(RequestId(_answer), http_scope(headers={"X-Request-ID": given}))).headers

    assert made["x-request-id"] != given
    assert re.fullmatch(r"[0-9a-f]{8}-1", made["x-request-id"])


async def test_request_id_makes_a_new_id_for_each_request() -> None:
    app = RequestId(_answer)

    ids = {(await call(app, http_scope())).headers["x-request-id"] for _ in range(5)}

    assert len(ids) == 5


async def test_request_id_reports_stages_and_model_of_an_inference() -> None:
    times = iter([10.0, 10.5])

    headers = (await call(RequestId(_encode, clock=lambda: next(times)), http_scope())).headers

    assert headers["server-timing"] == (
        "decode;dur=1.000, queue;dur=2.000, infer;dur=3.000, encode;dur=4.000, total;dur=500.000"
    )
    assert (headers["x-model"], headers["x-model-version"]) == ("tiny", "3")
    assert headers["x-own"] == "1"


async def test_request_id_reports_no_stages_where_nothing_was_inferred() -> None:
    headers = (await call(RequestId(_answer), http_scope())).headers

    assert "server-timing" not in headers
    assert "x-model" not in headers


async def test_request_id_closes_connections_while_draining() -> None:
    headers = (await call(RequestId(_answer, draining=lambda: True), http_scope())).headers

    assert headers["connection"] == "close"


async def test_request_id_joins_a_header_that_came_in_parts() -> None:
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(record_of(scope).headers[b"accept"])
        await _answer(scope, receive, send)

    scope = http_scope()
    scope["headers"] = [(b"accept", b"image/gif"), (b"accept", b"image/png;q=0.5")]
    await call(RequestId(app), scope)

    assert seen == [b"image/gif, image/png;q=0.5"]


async def test_request_id_leaves_other_protocols_alone() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await RequestId(app)({"type": "lifespan"}, lambda: None, lambda: None)  # type: ignore[arg-type]

    assert seen == ["lifespan"]
