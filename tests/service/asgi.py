"""A few lines that call an ASGI app directly, for tests that need the raw messages."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Headers = dict[str, str]


@dataclass
class Answer:
    """What the app sent."""

    status: int = 0
    headers: Headers = field(default_factory=dict)
    body: bytes = b""


def http_scope(
    method: str = "GET", path: str = "/", query: str = "", headers: Headers | None = None
) -> dict[str, Any]:
    """The scope of one HTTP request."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": pairs,
        "root_path": "",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("127.0.0.1", 1),
    }


async def call(
    app: Any,
    scope: dict[str, Any],
    chunks: Iterable[bytes] = (),
    *,
    gone: asyncio.Event | None = None,
) -> Answer:
    """Sends the chunks as the body; the client hangs up when `gone` is set, else never."""
    pending = [*chunks] or [b""]
    answer = Answer()

    async def receive() -> dict[str, Any]:
        if pending:
            body = pending.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(pending)}
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
