"""The byte limit, from the declared length and while a body streams in."""

import re
from typing import Any

import pytest

from service.errors import MalformedInput, PayloadTooLarge
from service.middleware.body_limit import BodyLimit
from service.middleware.request_id import RequestId
from tests.service.asgi import call, http_scope


async def _read_all(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


APP = RequestId(BodyLimit(_read_all, max_body_bytes=10))


async def test_body_limit_lets_a_body_of_just_the_limit_through() -> None:
    scope = http_scope("POST", headers={"content-length": "10"})

    assert (await call(APP, scope, [b"0123456789"])).body == b"0123456789"


async def test_body_limit_lets_a_streamed_body_of_just_the_limit_through() -> None:
    assert (await call(APP, http_scope("POST"), [b"01234", b"56789"])).body == b"0123456789"


async def test_body_limit_refuses_the_declared_length_before_reading() -> None:
    read: list[bytes] = []

    async def never(scope: Any, receive: Any, send: Any) -> None:
        read.append((await receive())["body"])

    app = RequestId(BodyLimit(never, max_body_bytes=10))

    with pytest.raises(PayloadTooLarge, match="must not be over 10 bytes; got 11; send fewer"):
        await call(app, http_scope("POST", headers={"content-length": "11"}), [b"x" * 11])
    assert read == []


async def test_body_limit_refuses_a_streamed_body_when_it_passes_the_limit() -> None:
    with pytest.raises(PayloadTooLarge, match="must not be over 10 bytes; got more"):
        await call(APP, http_scope("POST"), [b"01234", b"56789", b"x", b"never read"])


@pytest.mark.parametrize("declared", ["-1", "ten", "1" * 21, ""])
async def test_body_limit_refuses_a_length_that_is_no_number(declared: str) -> None:
    text = f"`Content-Length` must be a number of bytes; got `{declared}`"

    with pytest.raises(MalformedInput, match=re.escape(text)):
        await call(APP, http_scope("POST", headers={"content-length": declared}))
