"""The batcher: takes requests of any number of rows, runs batches, gives each caller its own rows.

Greedy: a free lane takes what waits at once, and has one more batch prepared while one runs. All
state lives on the event loop; only `Batch.run` happens in a lane's thread, or on the loop itself
where the policy says so. Nothing polls: submits, finished batches and one timer for the next
deadline drive everything.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial

from service.batching.admission import Admission
from service.batching.deadlines import DeadlineTimer
from service.batching.entries import Array, Batch, Entry, Result, Runner, for_the_caller
from service.batching.lanes import Lanes
from service.batching.observer import Observer, SilentObserver
from service.batching.policy import BatchPolicy
from service.batching.rate import RateMeter
from service.batching.turns import OperationQueue, Turns
from service.errors import DeadlineExceeded, Draining, InvalidValue, ServiceError

__all__ = ["BatchPolicy", "Batcher", "Result"]

PREPARED_PER_LANE = 1


class Batcher:
    """Joins the rows of concurrent requests, for one event loop.

    Args:
        operations: what can be asked for: name -> function of a whole batch. It runs in a thread,
            gets (rows, ...) and returns a tuple of outputs with as many rows.
        observer: told about every batch and refusal.
        clock: seconds that never go back; deadlines are on its scale.
        executor: where batches run instead of own threads; not shut down by the batcher.
    """

    def __init__(
        self,
        operations: Mapping[str, Runner],
        policy: BatchPolicy | None = None,
        *,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
    ) -> None:
        self._policy = policy or BatchPolicy()
        self._observer = observer or SilentObserver()
        self._clock = clock
        self._lanes = Lanes(self._policy.lanes, executor)
        self._queues = {name: OperationQueue(name, run) for name, run in operations.items()}
        self._turns = Turns(list(self._queues.values()), self._policy, clock=clock)
        self._meter = RateMeter()
        self._admission = Admission(self._policy, self._meter)
        self._retries: deque[Batch] = deque()
        self._pending: set[Entry] = set()
        self._under_way = 0
        self._pump_is_scheduled = False
        self._wait_timer: asyncio.TimerHandle | None = None
        self._deadline_timer = DeadlineTimer(clock=clock, on_due=self._expire_due)
        self._idle: asyncio.Event | None = None

    @property
    def queue_rows(self) -> int:
        """Rows that wait for a lane."""
        return self._admission.waiting_rows

    @property
    def queue_bytes(self) -> int:
        """Bytes of the rows that wait for a lane."""
        return self._admission.waiting_bytes

    @property
    def running_rows(self) -> int:
        """Rows in batches that run or are prepared."""
        return self._admission.running_rows

    @property
    def pending_requests(self) -> int:
        """Accepted requests that have no answer yet."""
        return len(self._pending)

    @property
    def rows_per_s(self) -> float | None:
        """The measured rate; None until enough was seen."""
        return self._meter.rows_per_s

    def require_room(self, operation: str, *, deadline: float | None = None) -> None:
        """Raise what `submit` would of a single row, before a body is read in vain."""
        queue, now = self._queues[operation], self._clock()
        self._admission.require_room(queue, now=now, deadline=deadline, observer=self._observer)

    def retry_after_s(self) -> float:
        """When what waits now should be done."""
        return self._admission.retry_after_s()

    async def submit(
        self,
        operation: str,
        rows: Array,
        *,
        deadline: float | None = None,
        origin: object = None,
    ) -> Result:
        """Run `rows` through an operation, in batches shared with other callers.

        Args:
            rows: (n, ...), n >= 1; not changed, and not to be changed until the answer is there.
            deadline: on the batcher's clock; None waits as long as it takes.
            origin: handed to the observer with each batch that serves these rows.

        Raises:
            QueueFull: no room; QueueTooLong: not done before the deadline at the present rate.
            DeadlineExceeded: too late, or too many rows for the deadline at the present rate.
            Draining: the batcher takes no new work.
            TooManyRows, InvalidValue: more rows or bytes than may ever wait, or no row.
            InferenceFailed: the operation raised on these rows alone.
        """
        if len(rows) == 0:
            raise InvalidValue("a request must have at least one row; got none")
        loop = asyncio.get_running_loop()
        queue = self._queues[operation]
        entry = Entry(
            operation,
            rows,
            future=loop.create_future(),
            deadline=deadline,
            enqueued=self._clock(),
            origin=origin,
        )
        self._admission.admit(entry, queue, observer=self._observer)
        self._pending.add(entry)
        queue.entries.append(entry)
        if deadline is not None:
            self._deadline_timer.watch(deadline)
        self._schedule_pump(loop)
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._abandon(entry)
            raise

    async def drain(self, *, timeout_s: float | None = None) -> int:
        """Refuse new work, finish what was accepted, let the threads go.

        Returns:
            How many requests were cut off with `Draining` because `timeout_s` passed.
        """
        self._admission.draining = True
        self._idle = self._idle or asyncio.Event()
        self._pump()
        self._note_if_idle()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return self.close()
        self.close()
        return 0

    def close(self) -> int:
        """Cut off what is pending and let the threads go once their batch ends; see `drain`."""
        self._admission.draining = True
        cut_off = list(self._pending)
        for entry in cut_off:
            self._fail(entry, Draining())
        self._deadline_timer.cancel()
        if self._wait_timer is not None:
            self._wait_timer.cancel()
        self._lanes.close()
        return len(cut_off)

    def _schedule_pump(self, loop: asyncio.AbstractEventLoop) -> None:
        """At the loop's next turn, so that requests that arrived together share a batch."""
        if not self._pump_is_scheduled:
            self._pump_is_scheduled = True
            loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_scheduled = False
        if self._deadline_timer.is_due:
            self._expire_due()
        most = self._policy.lanes * (1 + PREPARED_PER_LANE)
        while self._under_way < most:
            batch = self._next_batch()
            if batch is None:
                self._wait_for_more()
                return
            if self._under_way == 0 and batch.n_rows <= self._policy.inline_rows:
                self._run_inline(batch)
                return
            self._run_in_lane(batch)

    def _next_batch(self) -> Batch | None:
        if self._retries:
            return self._retries.popleft()
        queue = self._turns.next(may_wait=not self._admission.draining)
        if queue is None:
            return None
        idle_lanes = self._policy.lanes - self._under_way
        parts = queue.take(self._policy.share(queue.waiting_rows, idle_lanes=idle_lanes))
        for entry, start, stop in parts:
            self._admission.leave(entry, queue, rows=stop - start)
        return Batch(queue.operation, parts)

    def _run_inline(self, batch: Batch) -> None:
        """On the event loop, which writes the answers and reads its sockets before the next one."""
        self._begin(batch)()
        self._end(batch)
        if self._deadline_timer.is_due:
            self._expire_due()
        self._hand_out(batch)
        self._schedule_pump(asyncio.get_running_loop())

    def _run_in_lane(self, batch: Batch) -> None:
        self._lanes.start(self._begin(batch), partial(self._finish, batch))

    def _finish(self, batch: Batch) -> None:
        self._end(batch)
        self._pump()  # which also expires what is due, so that nothing late is delivered
        self._hand_out(batch)

    def _begin(self, batch: Batch) -> Callable[[], None]:
        """Counts the batch as under way; returns what runs it."""
        self._under_way += 1
        self._admission.running_rows += batch.n_rows
        self._meter.batch_started(self._clock())
        batch.padded_rows = self._policy.padded(batch.n_rows)
        return partial(batch.run, self._queues[batch.operation].runner, self._clock)

    def _end(self, batch: Batch) -> None:
        self._under_way -= 1
        self._admission.running_rows -= batch.n_rows
        self._meter.batch_finished(self._clock(), rows=batch.n_rows)
        if batch.error is not None:
            self._recover(batch, batch.error)

    def _hand_out(self, batch: Batch) -> None:
        if batch.error is None:
            self._deliver(batch)
        self._note_if_idle()

    def _deliver(self, batch: Batch) -> None:
        self._observer.batch_finished(batch.stats())
        outputs = batch.outputs
        position = 0
        for entry, start, stop in batch.parts:
            end = position + stop - start
            if not entry.future.done():
                own = tuple([output[position:end] for output in outputs])
                if entry.collect(own, start, batch):
                    self._answer(entry, batch)
            position = end

    def _answer(self, entry: Entry, batch: Batch) -> None:
        self._pending.discard(entry)
        entry.future.set_result(
            Result(
                entry.outputs,
                entry.started - entry.enqueued,
                batch.ended - entry.started,
                entry.batch_rows,
            )
        )

    def _recover(self, batch: Batch, error: Exception) -> None:
        """Each request of a failed batch runs again alone; one that was alone fails."""
        self._observer.batch_failed(batch.operation, len(batch.parts), error)
        live = [part for part in batch.parts if not part.entry.future.done()]
        if len(batch.parts) > 1:
            self._retries.extend(Batch(batch.operation, [part]) for part in live)
            return
        for part in live:
            self._fail(part.entry, for_the_caller(error))

    def _fail(self, entry: Entry, error: ServiceError) -> None:
        self._withdraw(entry)
        if not entry.future.done():
            entry.future.set_exception(error)

    def _abandon(self, entry: Entry) -> None:
        if entry in self._pending:
            self._observer.cancelled(entry.operation)
            self._withdraw(entry)
        elif not entry.future.cancelled():
            entry.future.exception()  # seen, or asyncio would log an error that nobody awaited

    def _withdraw(self, entry: Entry) -> None:
        """Free the place of an entry that gets no answer."""
        self._pending.discard(entry)
        waiting = entry.n_rows - entry.taken
        if waiting:
            queue = self._queues[entry.operation]
            queue.entries.remove(entry)
            self._admission.leave(entry, queue, rows=waiting)
            entry.taken = entry.n_rows
        self._note_if_idle()

    def _note_if_idle(self) -> None:
        if self._idle is not None and not self._pending and self._under_way == 0:
            self._idle.set()

    def _expire_due(self) -> None:
        now = self._clock()
        dated = [(entry.deadline, entry) for entry in self._pending if entry.deadline is not None]
        for deadline, entry in dated:
            if deadline <= now:
                self._expire(entry)
        self._deadline_timer.rearm(deadline for deadline, _ in dated if deadline > now)

    def _expire(self, entry: Entry) -> None:
        self._observer.expired(entry.operation, "running" if entry.taken else "queue")
        self._fail(entry, DeadlineExceeded())

    def _wait_for_more(self) -> None:
        """With `max_wait_ms` set, come back when the first batch has waited long enough."""
        wait_s = self._turns.wait_s()
        if wait_s is None:
            return
        loop = asyncio.get_running_loop()
        if self._wait_timer is not None:
            if self._wait_timer.when() <= loop.time() + wait_s:
                return
            self._wait_timer.cancel()  # a request that has less time has come
        self._wait_timer = loop.call_later(wait_s, self._stop_waiting)

    def _stop_waiting(self) -> None:
        self._wait_timer = None
        self._pump()
