"""Whose turn it is: requests wait by operation, and operations take turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from service.batching.entries import Entry, Part, Runner
from service.batching.policy import BatchPolicy


class OperationQueue:
    """The waiting requests of one operation, oldest first.

    Attributes:
        waiting_rows: rows of `entries` that no batch took yet.
        served: number of the turn that this operation last had.
    """

    __slots__ = ("entries", "operation", "runner", "served", "waiting_rows")

    def __init__(self, operation: str, runner: Runner) -> None:
        self.operation = operation
        self.runner = runner
        self.entries: deque[Entry] = deque()
        self.waiting_rows = 0
        self.served = 0

    def take(self, wanted: int) -> list[Part]:
        """Up to `wanted` rows of the oldest requests; the last one may be split."""
        parts: list[Part] = []
        entries = self.entries
        while entries and wanted > 0:
            entry = entries[0]
            start = entry.taken
            stop = min(entry.n_rows, start + wanted)
            parts.append(Part(entry, start, stop))
            wanted -= stop - start
            entry.taken = stop
            if stop == entry.n_rows:
                entries.popleft()
        return parts


class Turns:
    """Picks the operation of the next batch.

    The one whose last turn is longest ago, so that a traversal of a thousand rows cannot keep an
    encode waiting for more than one batch; among equals the one with the oldest request.
    """

    def __init__(
        self,
        queues: Sequence[OperationQueue],
        policy: BatchPolicy,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._queues = queues
        self._policy = policy
        self._clock = clock
        self._turn = 0

    def next(self, *, may_wait: bool) -> OperationQueue | None:
        """The operation to serve now, or None.

        Args:
            may_wait: leave batches that are not full waiting for `max_wait_ms`; see `wait_s`.
        """
        waiting = [queue for queue in self._queues if queue.entries]
        if may_wait and self._policy.max_wait_ms > 0:
            waiting = [queue for queue in waiting if self._wait_s(queue) <= 0]
        if not waiting:
            return None
        chosen = min(waiting, key=_last_turn) if len(waiting) > 1 else waiting[0]
        self._turn += 1
        chosen.served = self._turn
        return chosen

    def wait_s(self) -> float | None:
        """Seconds until the first batch that is not full has waited long enough."""
        return min((self._wait_s(queue) for queue in self._queues if queue.entries), default=None)

    def _wait_s(self, queue: OperationQueue) -> float:
        if queue.waiting_rows >= self._policy.max_batch_rows:
            return 0.0
        most_s = self._policy.max_wait_ms / 1000
        return min(_waits_until(entry, most_s) for entry in queue.entries) - self._clock()


def _waits_until(entry: Entry, most_s: float) -> float:
    """Half of a request's time is left for running it."""
    if entry.deadline is None:
        return entry.enqueued + most_s
    return entry.enqueued + min(most_s, (entry.deadline - entry.enqueued) / 2)


def _last_turn(queue: OperationQueue) -> tuple[int, float]:
    return queue.served, queue.entries[0].enqueued
