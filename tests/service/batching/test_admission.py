"""Who may join the queue, and what the others are told."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pytest

from service.batching.admission import Admission
from service.batching.entries import Entry
from service.batching.policy import BatchPolicy
from service.batching.rate import RateMeter
from service.batching.turns import OperationQueue
from service.errors import DeadlineExceeded, Draining, QueueFull, QueueTooLong, TooManyRows
from tests.service.batching.virtual import Recorder


class Door:
    """An admission with two operations and a meter that a test can feed."""

    def __init__(self, **policy: Any) -> None:
        self.encode = OperationQueue("encode", lambda rows: (rows,))
        self.decode = OperationQueue("decode", lambda rows: (rows,))
        self.meter = RateMeter()
        self.seen = Recorder()
        self.admission = Admission(BatchPolicy(**policy), self.meter)

    def admit(self, rows: int, *, to: str = "encode", deadline: float | None = None) -> Entry:
        queue = self.encode if to == "encode" else self.decode
        loop = asyncio.new_event_loop()
        entry = Entry(
            to,
            np.zeros((rows, 10), np.uint8),
            future=loop.create_future(),
            deadline=deadline,
            enqueued=100.0,
        )
        loop.close()
        self.admission.admit(entry, queue, observer=self.seen)
        return entry

    def require_room(self, *, deadline: float | None = None) -> None:
        self.admission.require_room(self.encode, now=100.0, deadline=deadline, observer=self.seen)

    def measure(self, rows_per_s: int, *, until: float = 100.0) -> None:
        self.meter.batch_started(until - 1)
        self.meter.batch_finished(until, rows=rows_per_s)


def test_what_waits_is_counted_and_what_leaves_is_not() -> None:
    door = Door()
    entry = door.admit(3)
    door.admit(4, to="decode")
    assert (door.admission.waiting_rows, door.admission.waiting_bytes) == (7, 70)
    door.admission.leave(entry, door.encode, rows=2)
    assert (door.admission.waiting_rows, door.admission.waiting_bytes) == (5, 50)


def test_the_bounds_hold_over_all_operations() -> None:
    door = Door(max_queue_rows=10)
    door.admit(6)
    door.admit(4, to="decode")
    with pytest.raises(QueueFull):
        door.admit(1)
    with pytest.raises(QueueFull):
        door.admit(1, to="decode")
    assert door.admission.waiting_rows == 10


def test_bytes_are_bounded_too() -> None:
    door = Door(max_queue_bytes=100)
    door.admit(10)
    with pytest.raises(QueueFull):
        door.admit(1)
    assert door.seen.events == [("rejected", "encode", "queue_bytes")]


def test_a_request_larger_than_the_queue_is_told_so() -> None:
    with pytest.raises(TooManyRows, match="may have 5 rows at most; got 6"):
        Door(max_queue_rows=5).admit(6)


def test_a_request_with_more_bytes_than_the_queue_is_told_so() -> None:
    door = Door(max_queue_bytes=100)
    message = (
        "the rows of a request may have 100 bytes at most as the model takes and gives them; "
        "got 110; send several requests, or raise RFVAE_MAX_QUEUE_BYTES"
    )
    with pytest.raises(TooManyRows, match=f"^{re.escape(message)}$"):
        door.admit(11)
    door.admit(5)
    with pytest.raises(TooManyRows):
        door.admit(11)
    assert door.seen.events == []
    door.require_room()


def test_nobody_joins_while_draining() -> None:
    door = Door()
    door.admission.draining = True
    with pytest.raises(Draining):
        door.admit(1)


def test_a_deadline_in_the_past_is_exceeded() -> None:
    with pytest.raises(DeadlineExceeded):
        Door().admit(1, deadline=100.0)


def test_without_a_measured_rate_deadlines_are_hoped_for() -> None:
    door = Door()
    door.admit(1000, deadline=100.001)
    assert door.admission.retry_after_s() == 1.0


def test_what_would_be_late_at_half_the_measured_rate_is_refused() -> None:
    door = Door()
    door.measure(rows_per_s=100)
    door.admit(100)
    door.admit(50, deadline=102.5)
    message = (
        "the queue is too long for the request's deadline at the present rate; retry in 1.5 s, "
        "raise `X-Request-Timeout-Ms` or send fewer rows"
    )
    with pytest.raises(QueueTooLong, match=f"^{re.escape(message)}$") as caught:
        door.admit(50, deadline=102.5)
    assert caught.value.retry_after_s == pytest.approx(1.5)
    assert door.seen.events == [("rejected", "encode", "deadline")]


@pytest.mark.parametrize("waiting", [0, 20, 150])
def test_what_would_be_late_even_alone_is_not_told_to_come_back(waiting: int) -> None:
    door = Door(max_queue_rows=160)
    door.measure(rows_per_s=100)
    if waiting:
        door.admit(waiting)
    message = (
        "the answer must be ready before the request's deadline, in 0.3 s; 40 rows take 0.4 s "
        "at the present rate, even when nothing else waits; raise `X-Request-Timeout-Ms` or send "
        "fewer rows"
    )
    with pytest.raises(DeadlineExceeded, match=f"^{re.escape(message)}$"):
        door.admit(40, deadline=100.3)
    assert door.seen.events == [("expired", "encode", "admission")]
    assert door.admission.waiting_rows == waiting


def test_an_idle_queue_takes_what_can_just_be_done() -> None:
    door = Door()
    door.measure(rows_per_s=100)
    door.admit(100, deadline=101.0)
    assert door.admission.waiting_rows == 100


def test_only_its_share_of_another_operations_rows_is_ahead_of_a_request() -> None:
    door = Door()
    door.measure(rows_per_s=100)
    door.admit(1000, to="decode")
    door.admit(10, deadline=100.35)
    with pytest.raises(QueueFull):
        door.admit(10, to="decode", deadline=100.35)


@pytest.mark.parametrize(
    ("waiting", "running", "seconds"), [(300, 100, 4.0), (1, 0, 0.1), (1000, 9000, 60.0)]
)
def test_retry_after_is_the_time_for_all_that_waits(
    waiting: int, running: int, seconds: float
) -> None:
    door = Door()
    door.measure(rows_per_s=100)
    door.admit(waiting)
    door.admission.running_rows = running
    assert door.admission.retry_after_s() == pytest.approx(seconds)


def test_a_full_queue_asks_nobody_for_a_body() -> None:
    door = Door(max_queue_rows=10)
    door.admit(10)
    with pytest.raises(QueueFull):
        door.require_room()
    assert door.seen.events == [("rejected", "encode", "queue_rows")]


def test_a_queue_that_was_full_asks_for_bodies_again_once_an_eighth_is_free() -> None:
    door = Door(max_queue_rows=16)
    door.require_room()
    entry = door.admit(15)
    door.require_room()
    with pytest.raises(QueueFull):
        door.admit(2)
    with pytest.raises(QueueFull):
        door.require_room()
    door.admission.leave(entry, door.encode, rows=1)
    door.require_room()


def test_a_queue_full_of_bytes_asks_nobody_for_a_body() -> None:
    door = Door(max_queue_bytes=100)
    door.admit(9)
    with pytest.raises(QueueFull):
        door.admit(2)
    with pytest.raises(QueueFull):
        door.require_room()


def test_what_would_be_late_is_asked_for_no_body() -> None:
    door = Door()
    door.measure(rows_per_s=100)
    door.admit(100)
    door.require_room(deadline=102.1)
    with pytest.raises(QueueTooLong):
        door.require_room(deadline=101.9)
    assert door.admission.waiting_rows == 100


def test_what_would_be_late_even_alone_is_asked_for_no_body() -> None:
    door = Door()
    door.measure(rows_per_s=100)
    with pytest.raises(DeadlineExceeded, match=r"in 0.005 s; 1 row takes 0.01 s at"):
        door.require_room(deadline=100.005)


def test_nobody_is_asked_for_a_body_while_draining() -> None:
    door = Door()
    door.admission.draining = True
    with pytest.raises(Draining):
        door.require_room()


@pytest.mark.parametrize("early", [False, True], ids=["admit", "require room"])
def test_a_rate_that_fell_long_ago_keeps_nobody_out(early: bool) -> None:
    door = Door()
    door.meter.batch_started(0.0)
    door.meter.batch_finished(90.0, rows=40)  # the machine stood still: 2.3 s a row
    if early:
        door.require_room(deadline=101.0)
    door.admit(1, deadline=101.0)
    assert door.meter.rows_per_s is None  # it is measured anew
    assert door.seen.events == []


def test_a_rate_that_fell_just_now_does() -> None:
    door = Door()
    door.meter.batch_started(0.0)
    door.meter.batch_finished(99.0, rows=40)
    with pytest.raises(DeadlineExceeded):
        door.admit(1, deadline=101.0)
