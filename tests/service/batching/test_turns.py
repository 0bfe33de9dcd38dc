"""Whose turn it is, and what a queue hands out."""

from __future__ import annotations

import asyncio

import numpy as np

from service.batching.entries import Entry
from service.batching.policy import BatchPolicy
from service.batching.turns import OperationQueue, Turns


def _queue(operation: str, *counts: int, enqueued: float = 0.0) -> OperationQueue:
    queue = OperationQueue(operation, lambda rows: (rows,))
    loop = asyncio.new_event_loop()
    for count in counts:
        queue.entries.append(
            Entry(
                operation,
                np.zeros((count, 1)),
                future=loop.create_future(),
                deadline=None,
                enqueued=enqueued,
            )
        )
        queue.waiting_rows += count
    loop.close()
    return queue


def test_take_splits_the_last_request() -> None:
    queue = _queue("encode", 3, 4, 2)
    parts = [(part.start, part.stop) for part in queue.take(5)]
    assert parts == [(0, 3), (0, 2)]
    assert [(part.start, part.stop) for part in queue.take(50)] == [(2, 4), (0, 2)]
    assert queue.take(5) == []


def test_the_oldest_request_has_the_first_turn_and_then_they_alternate() -> None:
    first, second = _queue("encode", 1, enqueued=2.0), _queue("decode", 1, enqueued=1.0)
    turns = Turns([first, second], BatchPolicy(), clock=lambda: 5.0)
    served = [turns.next(may_wait=True) for _ in range(4)]
    assert served == [second, first, second, first]


def test_an_operation_without_requests_has_no_turn() -> None:
    busy = _queue("encode", 1)
    turns = Turns([_queue("decode"), busy], BatchPolicy(), clock=lambda: 0.0)
    assert turns.next(may_wait=True) is busy
    assert Turns([_queue("decode")], BatchPolicy(), clock=lambda: 0.0).next(may_wait=True) is None


def test_small_batches_wait_and_full_ones_do_not() -> None:
    small, full = _queue("encode", 1), _queue("decode", 4)
    policy = BatchPolicy(max_wait_ms=500, max_batch_rows=4)
    moment = [0.125]
    turns = Turns([small, full], policy, clock=lambda: moment[0])
    assert turns.next(may_wait=True) is full
    assert Turns([small], policy, clock=lambda: moment[0]).next(may_wait=True) is None
    assert Turns([small], policy, clock=lambda: moment[0]).wait_s() == 0.375
    assert Turns([small], policy, clock=lambda: moment[0]).next(may_wait=False) is small
    moment[0] = 0.5
    assert Turns([small], policy, clock=lambda: moment[0]).next(may_wait=True) is small
