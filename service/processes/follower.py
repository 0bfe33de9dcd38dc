"""A process that is fed by another one: its side of the link."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Final

import orjson

from service.errors import Unavailable
from service.observability.merging import Snapshot
from service.processes.link import (
    ASK,
    AT_ONCE,
    BEAT,
    CONNECTION,
    COUNTS,
    FAILED,
    GONE,
    SETTLED,
    Ends,
    read_commands,
    read_frame,
    write_frame,
)
from service.processes.worker import Worker

ASK_S: Final = 5.0
SILENT: Final = (
    f"each process of the service must give its counts within {ASK_S:g} s; one does not; it may be "
    "stuck: look at its log lines, or restart the service"
)


class Follower:
    """Obeys what comes over the link, and asks over it.

    Args:
        ends: the side of the link that this process has.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._writer: asyncio.StreamWriter | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._asking = asyncio.Lock()

    def run(self, make_worker: Callable[[], Worker]) -> None:
        """Serves until the other side of the link says so or ends."""
        worker = make_worker()
        worker.run(lambda: self._serve(worker))

    async def counts_of_others(self) -> list[Snapshot]:
        """What `merging.snapshot` gives in each of the other processes.

        Raises:
            Unavailable: one of them does not answer.
        """
        assert self._writer is not None
        async with self._asking:
            self._answer = asyncio.get_running_loop().create_future()
            write_frame(self._writer, ASK)
            return read_counts(await self._answer)

    async def _serve(self, worker: Worker) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._ends.frames)
        asyncio.get_running_loop().add_reader(self._ends.commands, self._read_commands, worker)
        talking = asyncio.gather(
            self._read_frames(reader, self._writer, worker), _report_start(self._writer, worker)
        )
        await worker.serve()
        talking.cancel()
        with suppress(asyncio.CancelledError):
            await talking

    def _read_commands(self, worker: Worker) -> None:
        for command, connection in islice(read_commands(self._ends.commands), AT_ONCE):
            if connection is not None:
                worker.feed(connection)
            elif command == CONNECTION:
                worker.miss()
            else:
                worker.obey(command)
            if command == GONE:
                asyncio.get_running_loop().remove_reader(self._ends.commands)

    async def _read_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, worker: Worker
    ) -> None:
        while (frame := await read_frame(reader)) is not None:
            kind, content = frame
            if kind == ASK:
                write_frame(writer, COUNTS, worker.counts())
            elif kind == BEAT:
                write_frame(writer, BEAT)
            elif kind == COUNTS and self._answer is not None and not self._answer.done():
                self._answer.set_result(content)


def read_counts(answer: bytes) -> list[Snapshot]:
    """The counts that the leader gathered.

    Raises:
        Unavailable: there are none, as one of the processes does not answer.
    """
    counts: list[Snapshot] = orjson.loads(answer)
    if not counts:
        raise Unavailable(SILENT)
    return counts


async def _report_start(writer: asyncio.StreamWriter, worker: Worker) -> None:
    failure = await worker.settled()
    if failure is None:
        write_frame(writer, SETTLED)
    else:
        write_frame(writer, FAILED, failure.detail.encode())
