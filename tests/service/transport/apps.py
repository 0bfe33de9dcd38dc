"""Requests for connections, applications that answer them, and what the answers must be."""

import asyncio
import json
import re
from typing import Any

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 20000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
SHORT_S = 0.05


async def answer_with(send: Any, body: bytes = b"ok", headers: Any = ()) -> None:
    """A whole answer at once."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def at_once(scope: Any, receive: Any, send: Any) -> None:
    """Answers without a look at the body."""
    await answer_with(send)


async def early(scope: Any, receive: Any, send: Any) -> None:
    """The same, and wants the connection closed."""
    await answer_with(send, headers=[(b"connection", b"close")])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await answer_with(send, body)


async def headers_after_body(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the names of the headers, once the body is there."""
    while (await receive())["more_body"]:
        pass
    await answer_with(send, b",".join(name for name, _ in scope["headers"]))


class Held:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.set()
        await self.go.wait()
        await answer_with(send)


def problem_of(answer: bytes) -> tuple[bytes, Any]:
    """Status line and body of an answer with which a connection ends, both checked."""
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    status, *lines = head.split(b"\r\n")
    assert b"\r\ndate: " in head
    problem = json.loads(body)
    (request_id,) = [line for line in lines if line.startswith(b"x-request-id: ")]
    assert re.fullmatch(r"[0-9a-f]{16}", problem["request_id"])
    assert request_id == b"x-request-id: " + problem["request_id"].encode()
    return status, problem
