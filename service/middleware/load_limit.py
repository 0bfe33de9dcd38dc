"""Refuses work with 429 before its body is read, when enough requests or bytes are under way."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import QueueFull
from service.observability.record import record_of

# A body up to this has arrived with its head, or nearly; a longer one counts as it comes in, so
# that clients that promise much and send little take nobody's place.
RESERVED_BYTES: Final = 64 * 1024


class LoadLimit:
    """Counts the POST requests without an answer and the bytes of their bodies.

    Args:
        retry_after_s: when there should be room again.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_requests: int,
        max_bytes: int,
        retry_after_s: Callable[[], float],
    ) -> None:
        self._app = app
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._retry_after_s = retry_after_s
        self.requests = 0
        self.bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        declared = record_of(scope).received_bytes
        if self.requests >= self._max_requests:
            raise self._full(f"{self._max_requests} requests", "RFVAE_MAX_IN_FLIGHT")
        if self.bytes + declared > self._max_bytes:
            raise self._too_many_bytes()
        body = [declared if declared <= RESERVED_BYTES else 0]
        if body[0] == 0:
            receive = self._count(receive, body)
        self.requests += 1
        self.bytes += body[0]
        try:
            await self._app(scope, receive, send)
        finally:
            self.requests -= 1
            self.bytes -= body[0]

    def _count(self, receive: Receive, body: list[int]) -> Receive:
        async def counted() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                n_bytes = len(message.get("body", b""))
                body[0] += n_bytes
                self.bytes += n_bytes
                if self.bytes > self._max_bytes:
                    raise self._too_many_bytes()
            return message

        return counted

    def _too_many_bytes(self) -> QueueFull:
        return self._full(f"{self._max_bytes} bytes of bodies", "RFVAE_MAX_IN_FLIGHT_BYTES")

    def _full(self, limit: str, setting: str) -> QueueFull:
        seconds = self._retry_after_s()
        return QueueFull(
            seconds,
            f"the service works on {limit} at a time; retry in {seconds:.1f} s, or raise {setting}",
        )
