"""Who may join the queue: bounded rows and bytes, and only work that can be done in time."""

from __future__ import annotations

from typing import Final

from service.batching.entries import Entry
from service.batching.observer import Observer, RejectReason
from service.batching.policy import BatchPolicy
from service.batching.rate import RateMeter
from service.batching.turns import OperationQueue
from service.errors import DeadlineExceeded, Draining, QueueFull, QueueTooLong, TooManyRows

RETRY_AFTER_UNKNOWN_S: Final = 1.0
RETRY_AFTER_LEAST_S: Final = 0.1
RETRY_AFTER_MOST_S: Final = 60.0
# The rate may fall so far while a request waits, and it is still answered in time.
SLOWER_MOST: Final = 2
# Once a request did not fit, none is asked to send its body until so much of the queue is free.
REOPENS_BELOW: Final = 7 / 8


def retry_after_s(wait_s: float) -> float:
    """What to tell a caller for whom there should be room in `wait_s`."""
    return min(max(wait_s, RETRY_AFTER_LEAST_S), RETRY_AFTER_MOST_S)


class Admission:
    """Counts what waits and refuses what does not fit, at once and with a reason.

    A request that could not be answered before its deadline is refused and not accepted for a 504
    later: with 429 if it could be when the queue is shorter, so that the client learns at once when
    to come back, else with 504. No work is wasted.
    """

    def __init__(self, policy: BatchPolicy, meter: RateMeter) -> None:
        self._policy = policy
        self._meter = meter
        self.waiting_rows = 0
        self.waiting_bytes = 0
        self.running_rows = 0
        self.draining = False
        self._was_full = False

    def admit(self, entry: Entry, queue: OperationQueue, *, observer: Observer) -> None:
        """Let the entry in, or raise what the caller should be told.

        Raises:
            Draining, DeadlineExceeded.
            TooManyRows: more rows or bytes than the queue may ever hold.
            QueueFull, QueueTooLong: it would be let in later.
        """
        if self.draining:
            observer.rejected(entry.operation, "draining")
            raise Draining()
        if entry.n_rows > self._policy.max_queue_rows:
            raise TooManyRows(
                f"a request may have {self._policy.max_queue_rows} rows at most; "
                f"got {entry.n_rows}; send several requests"
            )
        if entry.deadline is not None and entry.deadline <= entry.enqueued:
            observer.expired(entry.operation, "admission")
            raise DeadlineExceeded()
        reason = self._obstacle(entry, queue)
        if reason is not None:
            self._require_that_it_ever_fits(entry, observer=observer)
            self._was_full = reason != "deadline"
            observer.rejected(entry.operation, reason)
            raise self._refusal(reason)
        queue.waiting_rows += entry.n_rows
        self.waiting_rows += entry.n_rows
        self.waiting_bytes += entry.n_rows * entry.row_bytes

    def require_room(
        self, queue: OperationQueue, *, now: float, deadline: float | None, observer: Observer
    ) -> None:
        """Raise at once what `admit` would hardly spare a request that has yet to be read.

        Raises:
            Draining, DeadlineExceeded, QueueFull, QueueTooLong.
        """
        if self.draining:
            observer.rejected(queue.operation, "draining")
            raise Draining()
        if self._is_still_full():
            observer.rejected(queue.operation, "queue_rows")
            raise self._refusal("queue_rows")
        if self._would_be_late(queue, 1, now=now, deadline=deadline):
            self._require_time(queue.operation, 1, now=now, deadline=deadline, observer=observer)
            observer.rejected(queue.operation, "deadline")
            raise self._refusal("deadline")

    def leave(self, entry: Entry, queue: OperationQueue, *, rows: int) -> None:
        """Rows of an entry wait no longer: they were taken, or their caller left."""
        queue.waiting_rows -= rows
        self.waiting_rows -= rows
        self.waiting_bytes -= rows * entry.row_bytes

    def retry_after_s(self) -> float:
        """When all that waits now should be done, from the measured rate."""
        seconds = self._meter.seconds_for(self.waiting_rows + self.running_rows)
        return RETRY_AFTER_UNKNOWN_S if seconds is None else retry_after_s(seconds)

    def _refusal(self, reason: RejectReason) -> QueueFull:
        retry_after_s = self.retry_after_s()
        return QueueTooLong(retry_after_s) if reason == "deadline" else QueueFull(retry_after_s)

    def _require_that_it_ever_fits(self, entry: Entry, *, observer: Observer) -> None:
        """Raise what holds for this request even when nothing else waits."""
        n_bytes, most_bytes = entry.n_rows * entry.row_bytes, self._policy.max_queue_bytes
        if n_bytes > most_bytes:
            raise TooManyRows.of_bytes(n_bytes, most_bytes)
        self._require_time(
            entry.operation,
            entry.n_rows,
            now=entry.enqueued,
            deadline=entry.deadline,
            observer=observer,
        )

    def _require_time(
        self, operation: str, n_rows: int, *, now: float, deadline: float | None, observer: Observer
    ) -> None:
        seconds = self._meter.seconds_for(n_rows)
        if deadline is None or seconds is None or now + seconds <= deadline:
            return
        observer.expired(operation, "admission")
        rows = "1 row takes" if n_rows == 1 else f"{n_rows} rows take"
        raise DeadlineExceeded(
            f"the answer must be ready before the request's deadline, in {deadline - now:.2g} s; "
            f"{rows} {seconds:.2g} s at the present rate, even when nothing else waits; raise "
            "`X-Request-Timeout-Ms` or send fewer rows"
        )

    def _obstacle(self, entry: Entry, queue: OperationQueue) -> RejectReason | None:
        if self.waiting_rows + entry.n_rows > self._policy.max_queue_rows:
            return "queue_rows"
        if self.waiting_bytes + entry.n_rows * entry.row_bytes > self._policy.max_queue_bytes:
            return "queue_bytes"
        late = self._would_be_late(queue, entry.n_rows, now=entry.enqueued, deadline=entry.deadline)
        return "deadline" if late else None

    def _would_be_late(
        self, queue: OperationQueue, n_rows: int, *, now: float, deadline: float | None
    ) -> bool:
        if deadline is None:
            return False
        others = min(self.waiting_rows - queue.waiting_rows, queue.waiting_rows + n_rows)
        ahead = self.running_rows + queue.waiting_rows + others  # the other operations' turns
        seconds = self._meter.seconds_for(ahead * SLOWER_MOST + n_rows)
        late = seconds is not None and now + seconds > deadline
        if late and self._meter.is_outdated(now):
            # Only work that is let in is measured: a rate that fell while the machine stood still
            # would keep everything out for ever.
            self._meter.forget()
            return False
        return late

    def _is_still_full(self) -> bool:
        self._was_full = self._was_full and (
            self.waiting_rows > self._policy.max_queue_rows * REOPENS_BELOW
            or self.waiting_bytes > self._policy.max_queue_bytes * REOPENS_BELOW
        )
        return self._was_full or self.waiting_rows >= self._policy.max_queue_rows
