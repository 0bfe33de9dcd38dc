"""Refuses a body over the byte limit: from its declared length, or while it streams in."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import MalformedInput, PayloadTooLarge
from service.observability.record import RequestRecord, record_of

_LONGEST_DECLARED: Final = 20  # digits of a 64-bit length


class BodyLimit:
    """Raises PayloadTooLarge; a body of declared length is never counted twice."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            record = record_of(scope)
            declared = record.headers.get(b"content-length")
            if declared is not None:
                self._check_declared(declared, record)
            elif scope["method"] == "POST":
                receive = self._count(receive, record)
        return self._app(scope, receive, send)  # not awaited here, which spares a coroutine

    def _check_declared(self, declared: bytes, record: RequestRecord) -> None:
        if not declared.isdigit() or len(declared) > _LONGEST_DECLARED:
            shown = declared[:40].decode("latin-1")
            raise MalformedInput(f"`Content-Length` must be a number of bytes; got `{shown}`")
        record.received_bytes = int(declared)
        if record.received_bytes > self._max_body_bytes:
            raise self._too_large(str(record.received_bytes))

    def _count(self, receive: Receive, record: RequestRecord) -> Receive:
        async def counted() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                record.received_bytes += len(message.get("body", b""))
                if record.received_bytes > self._max_body_bytes:
                    record.close_connection = True  # how much more would come is unknown
                    raise self._too_large("more")
            return message

        return counted

    def _too_large(self, received: str) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"a body must not be over {self._max_body_bytes} bytes; got {received}; send fewer or "
            "smaller images, or raise RFVAE_MAX_BODY_BYTES"
        )
