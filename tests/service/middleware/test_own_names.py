"""Which names the service answers to where it asks for no key."""

import re
from typing import Any

import pytest

from service.errors import Misdirected
from service.middleware.own_names import OwnNames
from service.middleware.request_id import RequestId
from tests.service.asgi import call, http_scope


async def _ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


APP = RequestId(OwnNames(_ok))


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LOCALHOST.", "box.localhost:80", "workstation:8000"),
        *("127.0.0.1", "127.0.0.1:8000", "10.0.0.7:80", "[::1]:8000", ""),
    ],
)
async def test_own_names_let_this_machine_through(host: str) -> None:
    assert (await call(APP, http_scope(headers={"Host": host}))).status == 200


async def test_own_names_let_a_client_without_host_through() -> None:
    assert (await call(APP, http_scope())).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example."],
)
async def test_own_names_refuse_a_web_site(host: str) -> None:
    with pytest.raises(Misdirected, match=re.escape(f"got `{host}`; use one of these, set")):
        await call(APP, http_scope(headers={"Host": host}))
