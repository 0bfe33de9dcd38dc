"""Opens the record of each request and puts it on the answer: id, stage times, model."""

import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.metrics import INFERENCE_OPERATIONS
from service.observability.record import RECORD, RequestRecord

NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")


class RequestId:
    """Keeps a sane incoming `X-Request-ID`, makes one otherwise; every answer carries it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        draining: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._draining = draining
        self._clock = clock
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _merge(scope["headers"])
        record = RequestRecord(self._request_id(headers), self._clock(), headers)
        scope[RECORD] = record

        def send_with_facts(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                facts = self._facts(record)
                if record.close_connection or is_body_pending(receive) or self._draining():
                    facts.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *facts]
            return send(message)  # not awaited here, which spares a coroutine

        await self._app(scope, receive, send_with_facts)

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        given = headers.get(b"x-request-id")
        if given is not None and _SANE_ID.fullmatch(given):
            return given.decode()
        return f"{self._prefix}-{next(self._numbers)}"  # random bytes for each cost a system call

    def _facts(self, record: RequestRecord) -> list[tuple[bytes, bytes]]:
        facts = [(b"x-request-id", record.request_id.encode()), NO_SNIFF]
        if record.operation in INFERENCE_OPERATIONS:
            facts.append((b"server-timing", record.server_timing(self._clock())))
        if record.model:
            facts.append((b"x-model", record.model.encode()))
            facts.append((b"x-model-version", record.version.encode()))
        return facts


def is_body_pending(receive: Receive) -> bool:
    """Whether some of the request's body has yet to come: uvicorn's own state has `receive`."""
    return getattr(getattr(receive, "__self__", None), "more_body", False)


def _merge(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    merged: dict[bytes, bytes] = {}
    for name, value in pairs:  # a header that came in parts, as RFC 9110 5.3 joins it
        merged[name] = merged[name] + b", " + value if name in merged else value
    return merged
