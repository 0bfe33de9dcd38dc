"""The process that takes connections, and gives each to the process that has the fewest.

It answers requests as the others do, and minds the signals for all of them; it may be the only one.
A process that dies or hangs takes the service with it, as in a service of one: whoever started the
service starts it again, and no counter runs backwards.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from multiprocessing.context import ForkProcess
from typing import Final

from service.errors import ServiceError
from service.events import log_event
from service.models.registry import Registry
from service.models.repository import Verified
from service.observability.merging import Snapshot
from service.processes.follower import ASK_S, Follower, read_counts
from service.processes.link import (
    ASK,
    AT_ONCE,
    BEAT,
    COUNTS,
    CUT,
    DRAIN,
    END,
    FAILED,
    SETTLED,
    STARTED,
    Ends,
    read_frame,
    write_frame,
)
from service.processes.peers import SILENT_BEATS, OtherPeer, OwnPeer, Peer, start_others
from service.processes.plan import settings_of_worker
from service.processes.worker import AskOthers, Closed, Worker
from service.settings import Settings
from service.transport.listening import accept_all, close_without_loss, deafen, url_of
from service.welcome import welcome

LAST_S: Final = 10.0  # beyond the grace time; then a process is killed
ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BEAT_S: Final = 5.0  # between two looks whether the others reply
HALF_WAY_S: Final = 0.1  # at the end: who has called is in by then, if its network is not slower
REST_S: Final = 1.0  # until the next look at who wants to connect, when no more files can be opened


def serve_in_processes(
    settings: Settings,
    listener: socket.socket,
    verified: Verified,
    say: Callable[[str], None],
    *,
    processes: int,
) -> None:
    """Serves in so many processes, this one included, until a signal comes and all have ended.

    Raises:
        ServiceError: the models cannot be loaded, or one of the processes died or hangs.
    """
    url, closed = url_of(listener), Closed(processes)
    shared = settings_of_worker(settings, processes)

    def announce(registry: Registry) -> None:
        with suppress(OSError, ServiceError):  # nobody can read it, or the models leave already
            say(welcome(registry, url, processes=processes))

    def make_worker(number: int, others: AskOthers | None) -> Worker:
        return Worker(number, shared, verified, others, closed, announce)

    def follow(number: int, far: Ends, foreign: list[Ends]) -> None:
        for one in ENDING:  # a terminal sends them to all processes
            signal.signal(one, signal.SIG_IGN)
        listener.close()
        for end in foreign:
            end.close()
        follower = Follower(far)
        follower.run(lambda: make_worker(number, follower.counts_of_others))

    early = _note_signals()
    others = start_others(processes, follow)
    leader = _Leader(settings, listener, others, closed, early)
    leader.run(lambda: make_worker(0, leader.counts_of_others if others else None))


def _note_signals() -> list[int]:
    """Those that come before the loop can mind them, when the others may have been started."""
    noted: list[int] = []
    for one in ENDING:
        if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN:  # as `nohup` leaves it
            signal.signal(one, lambda number, frame: noted.append(number))
    return noted


class _Leader:
    """Accepts, hands over and ends.

    SIGTERM, or SIGHUP as its terminal closes: not ready at once, `drain_s` later no new
    connections, accepted requests finish within `grace_s`. Ctrl-C skips the wait; a second one
    skips the rest.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        others: list[OtherPeer],
        closed: Closed,
        early: list[int],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._others = others
        self._closed = closed
        self._early = early
        self._peers: list[Peer] = []
        self._given = [0] * (1 + len(others))
        self._last_given = [0] * (1 + len(others))  # which of all connections was its last one
        self._settled: set[int] = set()
        self._draining = False
        self._stopped = False
        self._failure = ""
        self._asking = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()

    def run(self, make_worker: Callable[[], Worker]) -> None:
        """Returns when every process has ended.

        Raises:
            ServiceError: one of them failed.
        """
        try:
            worker = make_worker()
            self._peers = [OwnPeer(worker), *self._others]
            worker.run(lambda: self._lead(worker))
        finally:
            for other in self._others:
                other.ends.close()  # which ends those that are left, whatever happened here
        if self._failure:
            raise ServiceError(self._failure)

    async def counts_of_others(self) -> list[Snapshot]:
        """For the worker in this process; see `Follower.counts_of_others`."""
        return read_counts(await self._counts_without(0))

    async def _lead(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        on_signal = dict.fromkeys(ENDING, self._terminate) | {signal.SIGINT: self._interrupt}
        for one, obey in on_signal.items():
            if signal.getsignal(one) != signal.SIG_IGN:
                loop.add_signal_handler(one, obey)
        self._listen()
        if self._others:
            loop.call_later(BEAT_S, self._beat)
        for number in self._early:
            on_signal[signal.Signals(number)]()
        starting = asyncio.create_task(self._await_own(worker))
        await asyncio.gather(worker.serve(), *(self._follow(other) for other in self._others))
        starting.cancel()  # it waits for ever when the service ended before its models were loaded

    def _listen(self) -> None:
        if not self._stopped:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            for connection in islice(accept_all(self._listener), AT_ONCE):
                self._hand_over(connection)
        except OSError as error:  # those that wait must not keep the loop busy meanwhile
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)
            loop.call_later(REST_S, self._listen)
            log_event(logging.WARNING, "accept_failed", reason=error.strerror, again_in_s=REST_S)

    def _hand_over(self, connection: socket.socket) -> None:
        with connection:
            for peer in sorted(self._peers, key=self._load):
                if peer.give(connection):
                    self._given[peer.number] += 1
                    self._last_given[peer.number] = sum(self._given)
                    return
        log_event(logging.WARNING, "connection_dropped", reason="no process takes connections")

    def _load(self, peer: Peer) -> tuple[int, int]:
        """Its connections; of those that have as many, the one that was given none for longest.

        A process counts the end of a connection when it comes to it, so that many that leave and
        come back at once may be spread unevenly.
        """
        number = peer.number
        return self._given[number] - self._closed[number], self._last_given[number]

    def _tell(self, command: bytes) -> None:
        for peer in self._peers:
            peer.tell(command)

    def _terminate(self) -> None:
        if not self._draining:
            self._draining = True
            self._tell(DRAIN)
            asyncio.get_running_loop().call_later(self._settings.drain_s, self._stop)

    def _interrupt(self) -> None:
        if self._stopped:
            self._tell(CUT)
        self._draining = True
        self._stop()

    def _stop(self) -> None:
        """Stops listening, and lets what was accepted finish."""
        if self._stopped:
            return
        self._stopped = True
        if deafen(self._listener):
            asyncio.get_running_loop().call_later(HALF_WAY_S, self._close)
        else:
            self._close()

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        close_without_loss(self._listener, self._hand_over)
        self._tell(END)
        loop.call_later(self._settings.grace_s + LAST_S, self._kill)

    def _kill(self) -> None:
        for other in self._others:
            other.process.kill()

    def _beat(self) -> None:
        if self._stopped:  # from then on the grace time is the limit
            return
        for other in self._others:
            if not other.beat():
                other.process.kill()
                self._fail(_silence(other.process))
        asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    async def _await_own(self, worker: Worker) -> None:
        failure = await worker.settled()
        if failure is None:
            self._settle(0)
        else:
            self._fail(failure.detail)

    async def _follow(self, other: OtherPeer) -> None:
        """Reads what a process says up to its end, which is a failure while the service runs."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(other.process.sentinel, ended.set)
        reader, other.writer = await asyncio.open_unix_connection(sock=other.ends.frames)
        while (frame := await read_frame(reader)) is not None:
            self._take_frame(other, *frame)
        await ended.wait()
        loop.remove_reader(other.process.sentinel)
        other.process.join()
        self._peers.remove(other)
        if not self._stopped:
            self._fail(_obituary(other.process))

    def _take_frame(self, other: OtherPeer, kind: bytes, content: bytes) -> None:
        if kind == SETTLED:
            self._settle(other.number)
        elif kind == FAILED:
            self._fail(content.decode())
        elif kind == BEAT:
            other.silent_beats = 0
        elif kind == COUNTS and other.counts is not None and not other.counts.done():
            other.counts.set_result(content)
        elif kind == ASK:
            answering = asyncio.create_task(self._answer(other))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    def _settle(self, number: int) -> None:
        self._settled.add(number)
        if len(self._settled) == len(self._given):
            self._tell(STARTED)

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._stop()

    async def _answer(self, asker: OtherPeer) -> None:
        counts = await self._counts_without(asker.number)
        if asker.writer is not None:
            write_frame(asker.writer, COUNTS, counts)

    async def _counts_without(self, number: int) -> bytes:
        """A JSON list of the counts of all processes but one; empty if one does not answer."""
        async with self._asking:
            answers = [peer.ask() for peer in self._peers if peer.number != number]
            if answers:
                await asyncio.wait(answers, timeout=ASK_S)
        if not all(answer.done() for answer in answers):
            return b"[]"
        return b"[%b]" % b",".join(answer.result() for answer in answers)


def _silence(process: ForkProcess) -> str:
    return (
        f"each process of the service must reply within {SILENT_BEATS * BEAT_S:g} s; process "
        f"{process.pid} did not, and was killed; its last log lines may say why; start the service "
        "again"
    )


def _obituary(process: ForkProcess) -> str:
    code = process.exitcode or 0
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    hint = "; it may have been out of memory" if code == -signal.SIGKILL else ""
    return (
        f"each process of the service must run as long as the service; process {process.pid} ended "
        f"{how}{hint}; its last log lines may say why; start the service again"
    )
