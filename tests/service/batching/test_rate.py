"""The measured rate."""

from __future__ import annotations

import pytest

from service.batching.rate import RateMeter


def _run(meter: RateMeter, *, start: float, seconds: float, rows: int) -> None:
    meter.batch_started(start)
    meter.batch_finished(start + seconds, rows=rows)


def test_rate_is_unknown_until_enough_was_seen() -> None:
    meter = RateMeter()
    assert meter.rows_per_s is None
    assert meter.seconds_for(10) is None
    _run(meter, start=0, seconds=1, rows=31)
    assert meter.rows_per_s is None
    _run(meter, start=1, seconds=1, rows=1)
    assert meter.rows_per_s == pytest.approx(16)
    assert meter.seconds_for(8) == pytest.approx(0.5)


def test_idle_time_does_not_count() -> None:
    meter = RateMeter()
    _run(meter, start=0, seconds=1, rows=50)
    _run(meter, start=100, seconds=1, rows=50)
    assert meter.rows_per_s == pytest.approx(50)


def test_lanes_side_by_side_add_up() -> None:
    meter = RateMeter()
    meter.batch_started(0)
    meter.batch_started(0)
    meter.batch_finished(1, rows=20)
    meter.batch_finished(1, rows=20)
    assert meter.rows_per_s == pytest.approx(40)


def test_rate_follows_a_change() -> None:
    meter = RateMeter()
    for second in range(10):
        _run(meter, start=second, seconds=1, rows=100)
    for second in range(10, 30):
        _run(meter, start=second, seconds=1, rows=1000)
    assert meter.rows_per_s == pytest.approx(1000, rel=0.05)


def test_batches_without_time_give_no_rate() -> None:
    meter = RateMeter()
    _run(meter, start=0, seconds=0, rows=100)
    assert meter.rows_per_s is None


def test_work_that_was_timed_elsewhere_counts() -> None:
    meter = RateMeter()
    meter.observe(0.5, rows=20)
    meter.observe(0.5, rows=20)
    assert meter.rows_per_s == pytest.approx(40)
