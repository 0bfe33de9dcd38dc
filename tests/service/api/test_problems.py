"""Errors as problem+json: stable types, no text of other exceptions."""

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from service.api.problems import Problems
from service.errors import ClientGone, InvalidValue, QueueFull
from service.middleware.access_log import AccessLog
from service.middleware.request_id import RequestId
from service.observability.metrics import Metrics
from tests.service.asgi import Answer, call, http_scope


async def _answer_to(error: Exception, *, started: bool = False) -> Answer:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    layers = AccessLog(Problems(app), metrics=Metrics(), choice="none")
    return await call(RequestId(layers), http_scope(headers={"x-request-id": "abc"}))


async def test_problems_have_the_members_of_the_rfc_and_the_request_id() -> None:
    answer = await _answer_to(InvalidValue("`steps` must be 2 to 101; got `1`"))

    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(answer.body) == {
        "type": "urn:rfvae:problem:invalid-value",
        "title": "Invalid value",
        "status": 422,
        "detail": "`steps` must be 2 to 101; got `1`",
        "request_id": "abc",
    }


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.2, "2"), (30.0, "30")])
async def test_problems_say_when_to_retry(seconds: float, header: str) -> None:
    answer = await _answer_to(QueueFull(seconds))

    assert (answer.status, answer.headers["retry-after"]) == (429, header)


async def test_problems_hide_the_text_of_a_failure_and_log_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, logger="service")

    answer = await _answer_to(RuntimeError("secret path"))

    assert answer.status == 500
    assert b"secret" not in answer.body
    assert json.loads(answer.body)["type"] == "urn:rfvae:problem:internal-error"
    logged = caplog.records[-1]
    assert logged.fields == {"request_id": "abc", "operation": "other"}  # type: ignore[attr-defined]
    assert "secret path" in caplog.text


async def test_problems_answer_a_request_that_is_cut_off_and_let_it_end() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    async def send(message: Any) -> None:
        sent.append(message)

    layers = RequestId(AccessLog(Problems(app), metrics=Metrics(), choice="none"))
    task = asyncio.create_task(layers(http_scope(), app, send))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["type"] == "urn:rfvae:problem:draining"


async def test_problems_answer_an_unknown_path() -> None:
    answer = await _answer_to(HTTPException(404))

    assert answer.status == 404
    assert json.loads(answer.body)["detail"] == (
        "the path must be one of this service; got `/`; see /docs for the routes"
    )


async def test_problems_answer_a_wrong_method_with_the_right_ones() -> None:
    answer = await _answer_to(HTTPException(405, headers={"Allow": "POST"}))

    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert json.loads(answer.body)["detail"].startswith("this path takes POST; got GET")


async def test_problems_send_nothing_to_a_client_that_is_gone() -> None:
    answer = await _answer_to(ClientGone("gone"))

    assert (answer.status, answer.body) == (0, b"")


async def test_problems_add_nothing_to_an_answer_that_has_begun() -> None:
    answer = await _answer_to(RuntimeError("late"), started=True)

    assert (answer.status, answer.body) == (200, b"")
