"""One request and its answer on a connection: uvicorn's, but for answers that are whole.

uvicorn writes head and body apart, which costs a system call here and a second read at the client,
and looks at each header several times. All but plain answers of known length are left to it.
"""

import time
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Message = Any
WHOLE_MOST_BYTES: Final = 64 * 1024  # longer ones are not copied
LONGEST_KEPT_URL: Final = 256
_BODILESS: Final = frozenset((204, 304))


class Exchange(RequestResponseCycle):
    """Keeps the head of an answer until its first piece of body is there."""

    _start: Message = None

    async def send(self, message: Message) -> None:
        """As ASGI says."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            whole = self._whole(start, message)
            if whole is not None:
                self._write(whole)
                return
            await super().send(start)
        await super().send(message)

    async def receive(self) -> Any:
        """As ASGI says; a body that is here already is handed over without a look at events."""
        if self.more_body or self.disconnected or self.waiting_for_100_continue or not self.body:
            return await super().receive()
        self.flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    def _whole(self, start: Message, message: Message) -> bytes | None:
        """The bytes of a plain answer; None if it is of another kind."""
        status, body = start["status"], message.get("body", b"")
        if message.get("more_body") or len(body) > WHOLE_MOST_BYTES or self.flow.write_paused:
            return None
        if status in _BODILESS or self.scope["method"] == "HEAD":
            return None
        lines = [b"%b: %b\r\n" % pair for pair in (*self.default_headers, *start["headers"])]
        if b"content-length: %d\r\n" % len(body) not in lines:
            return None
        if b"connection: close\r\n" in lines:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines):  # a header that is two
            return None
        return b"%b%b\r\n%b" % (STATUS_LINE[status], head, body)

    def _write(self, whole: bytes) -> None:
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(whole)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def date_headers() -> list[tuple[bytes, bytes]]:
    """`Date` of an answer that begins now.

    Made when it is asked for, once a second: a server that renews it by a timer never sleeps.
    """
    return _dated(int(time.time()))


@lru_cache(maxsize=1)
def _dated(second: int) -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(second, usegmt=True).encode())]


def target_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, path as it came, and query string; those of short URLs are remembered.

    Raises:
        httptools.HttpParserInvalidURLError: it is no URL.
    """
    return _kept_target(url) if len(url) <= LONGEST_KEPT_URL else _target(url)


def _target(url: bytes) -> tuple[str, bytes, bytes]:
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


_kept_target: Final = lru_cache(maxsize=256)(_target)
