"""The processes as the leader sees them: itself, and those at the other side of a link."""

import asyncio
import gc
import multiprocessing
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from typing import Final, Protocol

from service.processes.link import ASK, BEAT, CONNECTION, Ends, make_link, write_frame
from service.processes.worker import Worker

SILENT_BEATS: Final = 6  # so many without a reply, and a process is taken to hang


class Peer(Protocol):
    """One of the processes, as the leader sees it: itself, or another."""

    number: int

    def give(self, connection: socket.socket) -> bool:
        """Hands a connection over; False if the process takes none."""

    def tell(self, command: bytes) -> None:
        """Sends one of the commands of `link`."""

    def ask(self) -> "asyncio.Future[bytes]":
        """Its counts, when it gives them."""


class OwnPeer:
    """The leader's own share of the work."""

    number = 0

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def give(self, connection: socket.socket) -> bool:
        with suppress(OSError):  # no more files can be opened
            self.worker.feed(connection.dup())
            return True
        return False

    def tell(self, command: bytes) -> None:
        self.worker.obey(command)

    def ask(self) -> "asyncio.Future[bytes]":
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.set_result(self.worker.counts())
        return answer


@dataclass(eq=False, slots=True)
class OtherPeer:
    """Another process at the other side of a link."""

    number: int
    process: ForkProcess
    ends: Ends
    writer: asyncio.StreamWriter | None = None
    counts: "asyncio.Future[bytes] | None" = None
    untold: bytes = b""  # commands that its socket has no room for yet
    silent_beats: int = 0  # since its last reply

    def give(self, connection: socket.socket) -> bool:
        if self.untold:
            return False
        with suppress(OSError):  # its socket is full: it is busy or stuck; or it has ended
            socket.send_fds(self.ends.commands, [CONNECTION], [connection.fileno()])
            return True
        return False

    def tell(self, command: bytes) -> None:
        self.untold += command
        self._tell_on()

    def _tell_on(self) -> None:
        """Sends what is untold, now and when there is room; behind the connections before it."""
        loop = asyncio.get_running_loop()
        try:
            self.untold = self.untold[self.ends.commands.send(self.untold) :]
        except BlockingIOError:
            loop.add_writer(self.ends.commands, self._tell_on)
            return
        except OSError:  # it has ended
            self.untold = b""
        loop.remove_writer(self.ends.commands)

    def ask(self) -> "asyncio.Future[bytes]":
        self.counts = asyncio.get_running_loop().create_future()
        if self.writer is not None:
            write_frame(self.writer, ASK)
        return self.counts

    def beat(self) -> bool:
        """Asks for a sign of life; False if it has given none for too long.

        Beats are counted and not seconds, as there are none while the whole machine is paused.
        """
        if self.writer is not None:
            if self.silent_beats == 0:
                write_frame(self.writer, BEAT)
            self.silent_beats += 1
        return self.silent_beats <= SILENT_BEATS


def start_others(
    processes: int, follow: Callable[[int, Ends, list[Ends]], None]
) -> list[OtherPeer]:
    """All but the first, forked from this one.

    Args:
        processes: How many there are with the first.
        follow: What each does, given its number, its side of its link, and the sides that are
            none of its business and that it must close.
    """
    links = [make_link() for _ in range(processes - 1)]
    gc.freeze()  # what is there now stays shared: the collector would write to each object
    context = multiprocessing.get_context("fork")  # which shares all that is imported so far
    others = []
    for number, (near, far) in enumerate(links, start=1):
        foreign = [end for link in links for end in link if end is not far]
        process = context.Process(target=follow, args=(number, far, foreign), daemon=True)
        process.start()
        others.append(OtherPeer(number, process, near))
    for _, far in links:
        far.close()
    return others
