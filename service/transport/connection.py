"""One client's connection: limits that uvicorn lacks, and an end that loses no answer.

uvicorn waits for ever for the head of a request and for a client that does not read its answer, has
no limit on the size of a head, and closes at once after an early answer, so that a client that
still sends its body is reset before it can read. It also takes what follows the head of a request
that offers an upgrade for the next request.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import MalformedInput, ServiceError
from service.transport.exchange import Exchange, date_headers, target_of
from service.transport.limits import ConnectionLimits
from service.transport.refusals import MAX_HEAD_BYTES, answer_to, too_large, too_many, too_slow
from service.transport.timer import Timer

LINGER_S: Final = 2.0  # so long may a client go on sending after an early answer
LAST_LOOK_S: Final = 0.1  # at the end: the next request may be on its way already
FIRST_LOOK_S: Final = 1.0  # at the end, at a connection that has not asked for anything yet
LEAST_READ_BYTES: Final = 16 * 1024  # of an answer, in each send time-out
_NO_HTTP: Final = "a request must be HTTP/1.1; got bytes that are not; see RFC 9112"
_HOSTS: Final = "a request of HTTP/1.1 has one Host header, which RFC 9112, 3.2, asks for; got {n}"


class _Transport:
    """What uvicorn sees of the transport: to close it is to let the connection end well."""

    def __init__(self, transport: asyncio.Transport, end: Callable[[], None]) -> None:
        self.end: Callable[[], None] | None = end
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def close(self) -> None:
        if self.end is not None:
            self.end()

    def is_closing(self) -> bool:
        return self.end is None


class Connection(HttpToolsProtocol):
    """uvicorn's protocol within limits; a request whose head comes whole arms no timer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._head_timer = Timer(self.loop)  # until a head must be whole
        self._idle_timer = Timer(self.loop)  # until the next request must begin
        self._send_timer = Timer(self.loop)  # until some of an answer must be read
        self._linger_timer = Timer(self.loop)  # until the client must have closed
        self._idle_since_s = 0.0
        self._unread_bytes = 0
        self._arrived_bytes = 0  # what is being read just now
        self._fault: tuple[ServiceError, str] | None = None  # of a head that is whole, and reason
        self._unclaimed_bytes = 0  # received since the last head, piece of a body, or end of one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._raw = transport
        self._view = _Transport(transport, self._end)
        super().connection_made(self._view)  # type: ignore[arg-type]
        limits = self._limits
        if len(self.connections) > limits.max_connections:
            if not limits.idle:
                self._refuse(too_many(limits.max_connections), "connections")
                return
            next(iter(limits.idle))._end()
        limits.idle[self] = None
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._view.end is None:
            return
        before = self.cycle
        body_bytes = len(before.body) if before is not None and before.more_body else None
        self._arrived_bytes = len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(*self._fault or (MalformedInput(_NO_HTTP), "malformed"))
            return
        if self.cycle is before:  # no further head is complete
            self._count_unclaimed(len(data), body_bytes)
        else:
            self._head_timer.cancel()

    def _parse(self, data: bytes | memoryview) -> None:
        """Reads past each head that offers an upgrade, which RFC 9110, 7.8, lets a server ignore.

        Raises:
            httptools.HttpParserError: it is no HTTP, or asks for a tunnel.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = memoryview(data)[offer.args[0] :]
            self._repeat_head_without_offer()

    def _repeat_head_without_offer(self) -> None:
        """To a new parser, as the one that saw the offer takes no body."""
        method = self.parser.get_method()
        if method == b"CONNECT":  # which is an upgrade without a header that offers it
            raise httptools.HttpParserInvalidMethodError
        first = b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())
        lines = [b"%b: %b" % (name, value) for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.parser.feed_data(b"\r\n".join((first, *lines, b"", b"")))

    def _count_unclaimed(self, n_bytes: int, body_bytes: int | None) -> None:
        """Bounds what comes and is no piece of a body: the head of a request, or trailers.

        Args:
            body_bytes: of the body before these; None if none was expected.
        """
        cycle = self.cycle
        if body_bytes is not None and (len(cycle.body) > body_bytes or not cycle.more_body):
            self._unclaimed_bytes = 0
            return
        self._unclaimed_bytes += n_bytes
        if self._unclaimed_bytes > MAX_HEAD_BYTES:
            self._refuse(too_large(self._unclaimed_bytes), "head_too_large")
        elif self.is_idle and not self._head_timer.is_running:
            self._await_head()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered whose head is complete."""
        return self.cycle is None or self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """Starts the request; uvicorn's own also thinks of web sockets and of other limits."""
        if self.parser.should_upgrade():  # it comes again, without the offer
            return
        if self._unclaimed_bytes + self._arrived_bytes > MAX_HEAD_BYTES:  # it may be the body's
            self._require_short_head()
        scope, http_version = self.scope, self.parser.get_http_version()
        is_modern = http_version != "1.0"  # others take 100 for the answer: RFC 9110, 10.1.1
        n_hosts = [name for name, _ in self.headers].count(b"host")
        if n_hosts > 1 or (is_modern and not n_hosts):  # whoever stands between may take another
            self._fail(MalformedInput(_HOSTS.format(n=n_hosts)), "malformed")
        self._unclaimed_bytes = 0
        self._limits.idle.pop(self, None)
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = http_version
        scope["path"], scope["raw_path"], scope["query_string"] = target_of(self.url)
        before = self.cycle
        self.cycle = Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=date_headers(),
            message_event=asyncio.Event(),
            expect_100_continue=is_modern and self.expect_100_continue,
            keep_alive=is_modern and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # it came before the answer to the one before
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self.headers = []  # the body's trailers must not become headers of the request

    def _require_short_head(self) -> None:
        line_bytes = len(self.url) + len(b"POST  HTTP/1.1\r\n\r\n")
        fields = (len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
        head_bytes = line_bytes + sum(fields)
        if head_bytes > MAX_HEAD_BYTES:
            self._fail(too_large(head_bytes), "head_too_large")

    def _fail(self, error: ServiceError, reason: str) -> NoReturn:
        """Ends the parsing of a head that is whole and not as it must be."""
        self._fault = error, reason
        raise httptools.HttpParserError

    def on_body(self, body: bytes) -> None:
        """Keeps a piece of the body as it is if the application has taken those before it."""
        cycle = self.cycle
        if self.parser.should_upgrade() or cycle.response_complete:
            return
        if not cycle.body:
            cycle.body = body  # type: ignore[assignment]  # not copied, as it may be large
        else:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Ends the body."""
        if self.parser.should_upgrade() or self.cycle.response_complete:
            return
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Goes on with the next request, or waits for it."""
        self.server_state.total_requests += 1
        if self._view.end is None:
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._limits.idle[self] = None
        self._idle_since_s = self.loop.time()
        if not self._idle_timer.is_running:  # one for many requests, as nearly all come in time
            self._idle_timer.start(self.timeout_keep_alive, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if not self.is_idle or self._unclaimed_bytes:  # the next answer arms the timer again
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle_timer.start(left_s, self._end_if_idle)
        else:
            self._end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_timer.cancel()

    def shutdown(self) -> None:
        """Idle connections are read once more before they close."""
        if self.is_idle:
            self._shut_in(FIRST_LOOK_S if self.cycle is None else LAST_LOOK_S)
        else:
            super().shutdown()

    def _shut_in(self, seconds: float) -> None:
        # Two turns behind the timer: a loop that comes late runs it before it looks at its sockets.
        soon = self.loop.call_soon
        wait_s = min(seconds, LAST_LOOK_S)
        self.loop.call_later(wait_s, soon, soon, self._shut, seconds - LAST_LOOK_S)

    def _shut(self, left_s: float) -> None:
        if self.is_idle and self._unclaimed_bytes:  # a head is half there; it has its own timer
            self._shut_in(LAST_LOOK_S)
        elif self.cycle is None and left_s > 0:
            self._shut_in(left_s)
        elif self._view.end is not None:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._send_timer.cancel()
        self._linger_timer.cancel()
        super().connection_lost(exc)
        if self._limits.on_lost is not None:
            self._limits.on_lost()

    def _end(self) -> None:
        """Closes once the answer is out."""
        body_is_pending = self.cycle is not None and self.cycle.more_body
        self._forget()
        if self._raw.get_write_buffer_size() > 0:
            self._await_reader()
        if body_is_pending:
            self._linger()
        else:
            self._raw.close()

    def _forget(self) -> None:
        """Nothing more is read from or written to this connection by uvicorn."""
        self._view.end = None
        self._limits.idle.pop(self, None)
        self._head_timer.cancel()
        self._idle_timer.cancel()

    def _linger(self) -> None:
        """Drops what still comes: a socket closed with bytes unread takes its answer with it."""
        if self._raw.is_closing():
            return
        self._raw.write_eof()
        self.flow.resume_reading()
        self._linger_timer.start(LINGER_S, self._raw.abort)

    def _refuse(self, error: ServiceError, reason: str) -> None:
        """Answers without the application and ends."""
        self._limits.on_refused(reason)
        self._forget()
        if self.pipeline or not (self.is_idle or self._can_still_answer()):
            self._raw.abort()  # half an answer may be out
            return
        scope: Any = None if self.is_idle else self.cycle.scope
        self._raw.write(answer_to(error, scope))
        self._linger()

    def _can_still_answer(self) -> bool:
        """Takes the answer to the request under way from the application, if none has begun."""
        if self.cycle.response_started:
            return False
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return True

    def _await_head(self) -> None:
        self._head_timer.start(self._limits.head_timeout_s, self._end_slow_head)

    def _end_slow_head(self) -> None:
        if self._unclaimed_bytes:
            error = too_slow(self._limits.head_timeout_s, self._unclaimed_bytes)
            self._refuse(error, "slow_head")
        else:  # it never asked for anything
            self._end()

    def _await_reader(self) -> None:
        if not self._send_timer.is_running:
            self._unread_bytes = self._raw.get_write_buffer_size()
            self._send_timer.start(self._limits.send_timeout_s, self._end_slow_reader)

    def _end_slow_reader(self) -> None:
        unread_bytes = self._raw.get_write_buffer_size()
        if unread_bytes > max(self._unread_bytes - LEAST_READ_BYTES, 0):
            self._limits.on_refused("slow_reader")
            self._raw.abort()
        elif unread_bytes:
            self._await_reader()
