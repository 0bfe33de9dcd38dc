"""Requests and batches: rows go in together and come back apart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from service.batching.entries import Batch, Entry, Part


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def _entry(loop: asyncio.AbstractEventLoop, *values: float) -> Entry:
    rows = np.array(values, np.float32)[:, None]
    return Entry("encode", rows, future=loop.create_future(), deadline=None, enqueued=0.0)


def _batch(*parts: Part, size: int | None = None) -> Batch:
    batch = Batch("encode", parts)
    batch.padded_rows = size or batch.n_rows
    return batch


def test_a_batch_joins_parts_and_pads_with_zeros(loop: asyncio.AbstractEventLoop) -> None:
    batch = _batch(Part(_entry(loop, 1, 2, 3), 1, 3), Part(_entry(loop, 4), 0, 1), size=5)
    batch.run(lambda rows: (rows,), lambda: 0.0)
    assert batch.outputs[0].ravel().tolist() == [2, 3, 4, 0, 0]


def test_rows_of_a_lone_request_are_not_copied(loop: asyncio.AbstractEventLoop) -> None:
    entry = _entry(loop, 1, 2, 3)
    batch = _batch(Part(entry, 0, 3))
    batch.run(lambda rows: (rows,), lambda: 0.0)
    assert np.shares_memory(batch.outputs[0], entry.rows)


def test_a_batch_keeps_its_error_and_its_times(loop: asyncio.AbstractEventLoop) -> None:
    moments = iter([1.0, 3.5])
    batch = _batch(Part(_entry(loop, 1), 0, 1))
    batch.run(lambda rows: (rows[5],), lambda: next(moments))
    assert isinstance(batch.error, IndexError)
    assert batch.stats() == ("encode", 1, 1, 1, 2.5, [None])


def test_a_batch_without_callers_is_not_run(loop: asyncio.AbstractEventLoop) -> None:
    entry = _entry(loop, 1)
    entry.future.cancel()
    batch = _batch(Part(entry, 0, 1))
    batch.run(lambda rows: (rows / 0,), lambda: 0.0)
    assert batch.error is None
    assert batch.outputs == ()


def test_an_entry_is_complete_when_all_its_rows_are_there(loop: asyncio.AbstractEventLoop) -> None:
    entry = _entry(loop, 1, 2, 3)
    first, second = _batch(Part(entry, 0, 2)), _batch(Part(entry, 2, 3))
    first.started, second.started = 5.0, 4.0
    assert not entry.collect((entry.rows[2:] * 10,), 2, second)
    assert entry.collect((entry.rows[:2] * 10,), 0, first)
    assert entry.outputs[0].ravel().tolist() == [10, 20, 30]
    assert (entry.started, entry.batch_rows) == (4.0, 2)
