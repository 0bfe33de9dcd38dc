"""Reads large bodies in threads of their own, and takes no more than can be read in time.

What small bodies and answers need is done elsewhere, so that neither waits for pictures.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Final, Generic, NamedTuple, ParamSpec, TypeVar

from service.batching.admission import SLOWER_MOST, retry_after_s
from service.batching.rate import RateMeter
from service.errors import DeadlineExceeded, QueueTooLong

P = ParamSpec("P")
T = TypeVar("T")

# About what a slow core reads of a PNG. It counts as so many seconds of work seen, so that the
# first large picture outweighs it.
GUESSED_PER_S: Final = 10_000_000
GUESSED_FOR_S: Final = 0.05


class Load(NamedTuple):
    """What reading one body asks for.

    Args:
        kind: its form, one of a closed set; each has a rate of its own.
        amount: pixels or bytes, the same for all of a kind; at least 1.
        deadline_s: on the intake's clock; None waits as long as it takes.
    """

    kind: str
    amount: int
    deadline_s: float | None


class _Kind:
    """What of one kind waits or is being read, and how much of it a thread reads a second."""

    def __init__(self) -> None:
        self.amount = 0
        self.meter = RateMeter()
        self.meter.observe(GUESSED_FOR_S, rows=round(GUESSED_PER_S * GUESSED_FOR_S))

    def seconds_for(self, amount: int) -> float:
        """How long one thread takes."""
        seconds = self.meter.seconds_for(amount)
        assert seconds is not None  # the guess is enough to know a rate
        return seconds


class _Job(Generic[T]):
    __slots__ = ("load", "work")

    def __init__(self, load: Load, work: Callable[[], T]) -> None:
        self.load = load
        self.work = work


class Intake:
    """First come, first served; one for a process.

    A body that would not be read before its deadline, should the rate halve meanwhile, is refused
    at once: with 429 if it could be with fewer others before it, else with 504, as in the batcher.
    A free thread takes whatever comes, or a wrong rate could never be put right.

    Args:
        clock: seconds that never go back; called in any thread.
    """

    def __init__(self, threads: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="rfvae-read")
        self._lock = Lock()  # guards what follows, which the threads change too
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._n_jobs = 0

    async def run(
        self, load: Load, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Calls the function in a thread.

        Raises:
            QueueTooLong: it would not be done before its deadline behind what is here.
            DeadlineExceeded: it would not even alone, or the deadline passed before it was begun.
        """
        self._admit(load)
        job = _Job(load, partial(function, *args, **kwargs))
        future = self._executor.submit(self._do, job)
        future.add_done_callback(lambda _: self._leave(job))
        return await asyncio.wrap_future(future)

    def wait_s(self) -> float:
        """In how many seconds all that is here should have been read, from the measured rates."""
        with self._lock:
            return self._ahead_s()

    def retry_after_s(self) -> float:
        """The same, within what callers are told."""
        return retry_after_s(self.wait_s())

    def close(self) -> None:
        """Lets the threads go once their work ends."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _admit(self, load: Load) -> None:
        now_s = self._clock()
        if load.deadline_s is not None and load.deadline_s <= now_s:
            raise DeadlineExceeded()
        with self._lock:
            if self._n_jobs >= self._threads:
                self._require_time(load, now_s)
            self._n_jobs += 1
            self._kinds[load.kind].amount += load.amount

    def _do(self, job: _Job[T]) -> T:
        """In a thread; what fails says little about the rate, as it may have ended early."""
        load, started_s = job.load, self._clock()
        if load.deadline_s is not None and load.deadline_s <= started_s:
            raise DeadlineExceeded()
        result = job.work()
        with self._lock:
            self._kinds[load.kind].meter.observe(self._clock() - started_s, rows=load.amount)
        return result

    def _leave(self, job: _Job[T]) -> None:
        """It was read, or its caller left before it was begun; in whichever thread."""
        del job.work  # the executor keeps the job until its turn, but need not keep the body
        with self._lock:
            self._n_jobs -= 1
            self._kinds[job.load.kind].amount -= job.load.amount

    def _require_time(self, load: Load, now_s: float) -> None:
        if load.deadline_s is None:
            return
        own_s, left_s = self._kinds[load.kind].seconds_for(load.amount), load.deadline_s - now_s
        if own_s > left_s:
            raise DeadlineExceeded(
                "a large body must be read before the request's deadline, in "
                f"{left_s:.2g} s; this one takes {own_s:.2g} s at the present rate, even when "
                "nothing else waits; send smaller pictures, or raise `X-Request-Timeout-Ms`"
            )
        ahead_s = self._ahead_s()
        if ahead_s * SLOWER_MOST + own_s > left_s:
            raise _too_late(ahead_s)

    def _ahead_s(self) -> float:
        """How long all threads together take for what is here."""
        kinds = self._kinds.values()
        return sum(kind.seconds_for(kind.amount) for kind in kinds) / self._threads


def _too_late(ahead_s: float) -> QueueTooLong:
    seconds = retry_after_s(ahead_s)
    return QueueTooLong(
        seconds,
        "a large body must be read before the request's deadline; got one behind "
        f"{ahead_s:.1f} s of others; retry in {seconds:.1f} s, send smaller pictures, "
        "or raise `X-Request-Timeout-Ms`",
    )
