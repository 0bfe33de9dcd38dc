"""What each process of the service does: the server, fed with connections and told to end."""

import asyncio
import logging
import mmap
import socket
from collections.abc import Awaitable, Callable, Coroutine

import orjson

from service.api.call import Service
from service.app import create_app
from service.errors import ServiceError
from service.events import log_event
from service.models.registry import Registry
from service.models.repository import Verified
from service.observability.merging import Snapshot
from service.processes.link import CUT, DRAIN, END, GONE, STARTED
from service.settings import Settings
from service.transport.server import Server

AskOthers = Callable[[], Awaitable[list[Snapshot]]]


class Closed:
    """How many connections each process has seen end, in memory that all of them share."""

    def __init__(self, processes: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, 8 * processes)).cast("Q")

    def __getitem__(self, process: int) -> int:
        return self._counts[process]

    def count(self, process: int) -> None:
        """Adds one; called by that process only."""
        self._counts[process] += 1


class Worker:
    """One process of the service, or the only one.

    Args:
        number: from 0.
        others: asks the other processes for their counts; None if there are none.
        closed: where it counts the ends of its connections.
        announce: called in process 0 once every process has loaded its models.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        verified: Verified,
        others: AskOthers | None,
        closed: Closed,
        announce: Callable[[Registry], None],
    ) -> None:
        app = create_app(settings, verified=verified, others=others)
        self._service: Service = app.state.service
        self._service.lifecycle.waits_for_others = True
        self._number = number
        self._announce = announce
        self._closed = closed
        self._server = Server(app, self._service, on_lost=lambda: closed.count(number))

    def run(self, main: Callable[[], Coroutine[None, None, None]]) -> None:
        """Runs this, in which `serve` is awaited, on the loop that the server wants."""
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(main())

    async def serve(self) -> None:
        """Serves until it is told to end."""
        await self._server.serve(sockets=[])

    async def settled(self) -> ServiceError | None:
        """Waits for the end of the first load; returns how it failed."""
        return await self._service.lifecycle.settled()

    def feed(self, connection: socket.socket) -> None:
        """Serves this connection."""
        self._server.feed(connection)

    def miss(self) -> None:
        """Counts a connection that was for this process and did not reach it."""
        self._closed.count(self._number)
        log_event(logging.WARNING, "connection_dropped", reason="no more files can be opened")

    def counts(self) -> bytes:
        """The metrics of this process, as JSON of `merging.snapshot`."""
        return orjson.dumps(self._service.metrics.snapshot())

    def obey(self, command: bytes) -> None:
        """Does what one of the commands of `link` says."""
        lifecycle = self._service.lifecycle
        if command == STARTED:
            lifecycle.waits_for_others = False
            if self._number == 0:
                self._announce(self._service.registry)
        elif command == DRAIN:
            lifecycle.draining = True
        elif command == CUT:
            self._server.force_exit = True
        elif command in (END, GONE):
            lifecycle.draining = True
            self._server.stop()
