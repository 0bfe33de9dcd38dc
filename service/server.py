"""The app under uvicorn in one process, with an end that loses no request."""

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from service.api.call import Service
from service.connection import Connection, ConnectionLimits
from service.listening import accept_all

OTHER_FILES: Final = 64  # models, logs, and what the libraries open


class Server(uvicorn.Server):
    """Uvicorn's server with a drain before it stops listening.

    SIGTERM: not ready at once, `drain_s` later no new requests, accepted ones finish within
    `grace_s`. Ctrl-C skips the wait; a second one skips the rest.
    """

    def __init__(
        self, app: ASGIApp, service: Service, *, on_lost: Callable[[], None] | None = None
    ) -> None:
        """Builds the server.

        Args:
            on_lost: called at the end of each connection.
        """
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
                app,
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
        self._drain_s = settings.drain_s
        self._lifecycle = service.lifecycle

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals on the loop; uvicorn would end the process by the signal itself."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        yield

    def _terminate(self) -> None:
        if not self._lifecycle.draining:
            self._lifecycle.draining = True
            asyncio.get_running_loop().call_later(self._drain_s, self.stop)

    def _interrupt(self) -> None:
        self.force_exit = self.should_exit
        self._lifecycle.draining = True
        self.stop()

    def stop(self) -> None:
        """Stops listening; accepted requests finish."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes in who has connected already and stops listening in the same breath.

        A listener that closes resets whom it did not accept, and uvicorn's closes some turns of
        the loop after it stopped to accept.
        """
        listeners = sockets or []
        waiting = [connection for listener in listeners for connection in accept_all(listener)]
        for server in self.servers:
            server.close()
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RD)
        for connection in waiting:
            await self.take_in(connection)
        await super().shutdown(sockets)

    async def take_in(self, connection: socket.socket) -> None:
        """Serves a connection that was accepted elsewhere."""
        await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _affordable(max_connections: int) -> int:
    """So many connections as this process may open files, of which it asks for enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(min(max_connections, allowed - OTHER_FILES), 1)
