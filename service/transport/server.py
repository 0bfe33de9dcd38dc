"""The app under uvicorn in one process, with no listening socket: whoever accepts, feeds it."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.call import Service
from service.transport.connection import Connection
from service.transport.limits import ConnectionLimits

OTHER_FILES: Final = 64  # models, logs, and what the libraries open


class Server(uvicorn.Server):
    """Uvicorn's server for connections that were accepted elsewhere, where signals are minded too.

    Args:
        on_lost: called at the end of each connection.
    """

    def __init__(self, app: ASGIApp, service: Service, *, on_lost: Callable[[], None]) -> None:
        settings = service.settings
        limits = ConnectionLimits(
            head_timeout_s=settings.head_timeout_s,
            send_timeout_s=settings.send_timeout_s,
            max_connections=_affordable(settings.max_connections),
            on_refused=service.metrics.reject,
            on_lost=on_lost,
        )
        protocol: Any = partial(Connection, limits=limits)  # uvicorn does no more than call it
        super().__init__(
            uvicorn.Config(
                partial(_until_cut_off, app),
                loop="uvloop",
                http=protocol,
                ws="none",
                lifespan="on",
                interface="asgi3",  # or uvicorn guesses from how the application is written
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=settings.grace_s,
            )
        )
        self._on_lost = on_lost
        self._coming: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes none; uvicorn would end the process by the signal itself."""
        yield

    def feed(self, connection: socket.socket) -> None:
        """Serves this connection from the next turn of the loop on."""
        coming = asyncio.ensure_future(self._take_in(connection))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    async def _take_in(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:  # its client has left
            connection.close()
            self._on_lost()

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def stop(self) -> None:
        """Ends once the accepted requests are answered."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Sleeps until `stop`; uvicorn's own wakes ten times a second, which idle cores feel."""
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends once all that was fed is taken in."""
        await asyncio.gather(*self._coming)
        await super().shutdown(sockets)


async def _until_cut_off(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """A request that uvicorn cancels has its answer by then; uvicorn would log a trace of it."""
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        if scope["type"] != "http":
            raise


def _affordable(max_connections: int) -> int:
    """So many connections as this process may open files, of which it asks for enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(min(max_connections, allowed - OTHER_FILES), 1)
