"""Who is let through, and that nothing of a body is read for the others."""

import re
from typing import Any

import pytest

from service.errors import Unauthorized
from service.middleware.api_keys import ApiKeys
from service.middleware.request_id import RequestId
from tests.service.asgi import Headers, call, http_scope


async def _ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


APP = RequestId(
    ApiKeys(_ok, knows=lambda key: key == b"good", is_exempt=lambda path: path == "/livez")
)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer good"},
        {"Authorization": "bearer  good "},
        {"X-API-Key": "good"},
        {"Authorization": "Basic of-a-proxy", "X-API-Key": "good"},
    ],
)
async def test_api_keys_let_a_known_key_through(headers: Headers) -> None:
    assert (await call(APP, http_scope("POST", "/encode", headers=headers))).status == 200


async def test_api_keys_let_an_exempt_path_through() -> None:
    assert (await call(APP, http_scope("GET", "/livez"))).status == 200


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "this path needs an API key; got none; send it as `Authorization: Bearer KEY` or"),
        ({"Authorization": "good"}, "got an `Authorization` that is no `Bearer KEY`; send it as"),
        ({"X-API-Key": "bad"}, "an API key must be one that the service knows; send it as"),
        ({"Authorization": "Bearer"}, "got an `Authorization` that is no `Bearer KEY`"),
        ({"Authorization": "Bearer bad", "X-API-Key": "good"}, "one that the service knows"),
        ({"X-API-Key": ""}, "one that the service knows"),
    ],
)
async def test_api_keys_refuse_all_else(headers: Headers, text: str) -> None:
    with pytest.raises(Unauthorized, match=re.escape(text)) as caught:
        await call(APP, http_scope("POST", "/encode", headers=headers))

    assert "bad" not in caught.value.detail


@pytest.mark.parametrize("path", ["/livez/", "/LIVEZ", "//livez", "/livez/../encode"])
async def test_api_keys_exempt_no_path_that_only_looks_alike(path: str) -> None:
    with pytest.raises(Unauthorized):
        await call(APP, http_scope("GET", path))
