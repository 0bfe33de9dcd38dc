"""An application behind real sockets in this process, on uvloop as in production."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import uvicorn
import uvloop

from service.transport.connection import Connection
from service.transport.limits import ConnectionLimits
from service.transport.listening import bind

WAIT_S = 20


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Live:
    """A listening server; `refused` has the reasons in order."""

    def __init__(self, server: uvicorn.Server, port: int, refused: list[str]) -> None:
        self.server = server
        self.port = port
        self.refused = refused
        self._clients: list[Client] = []

    async def connect(self) -> "Client":
        """A new connection, closed at the end."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def receive(self, *parts: bytes) -> None:
        """Gives the one connection each part as a packet of its own; a network might join them."""
        async with asyncio.timeout(WAIT_S):
            while not self.server.server_state.connections:
                await asyncio.sleep(0.001)
        (connection,) = self.server.server_state.connections
        for part in parts:
            connection.data_received(part)
            await asyncio.sleep(0)

    async def wait_until_closed(self) -> None:
        """Returns when the server holds no connection."""
        async with asyncio.timeout(WAIT_S):
            while self.server.server_state.connections:
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        """Closes the clients' side."""
        for client in self._clients:
            await client.close()


class Client:
    """One connection, in raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()

    async def read_all(self) -> bytes:
        """Everything up to the end of the connection."""
        return await asyncio.wait_for(self._reader.read(), WAIT_S)

    async def read_some(self) -> bytes:
        return await asyncio.wait_for(self._reader.read(65536), WAIT_S)

    async def read_until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self._reader.readuntil(end), WAIT_S)

    async def drip(self, part: bytes) -> bytes:
        """Sends one byte after another until an answer or the end comes; returns that.

        Not any longer: the server lets go after a while, and bytes on the way then cost the answer.
        """
        reading = asyncio.ensure_future(self.read_some())
        while not reading.done():
            self._writer.write(part)
            await asyncio.wait([reading], timeout=0.01)
        return await reading + await self.read_all()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def serve_app(
    app: Any,
    *,
    head_timeout_s: float = WAIT_S,
    send_timeout_s: float = WAIT_S,
    max_connections: int = 100,
    keep_alive_s: int = WAIT_S,
) -> AsyncIterator[Live]:
    """Serves until the block ends."""
    refused: list[str] = []
    limits = ConnectionLimits(head_timeout_s, send_timeout_s, max_connections, refused.append)
    protocol: Any = partial(Connection, limits=limits)
    config = uvicorn.Config(
        app,
        http=protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    listener = bind("127.0.0.1", 0)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0)
    live = Live(server, listener.getsockname()[1], refused)
    try:
        yield live
    finally:
        await live.end()
        server.should_exit = True
        await serving


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs the test on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
