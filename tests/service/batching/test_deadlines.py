"""One timer for many deadlines."""

from __future__ import annotations

import asyncio

from service.batching.deadlines import DeadlineTimer
from tests.service.batching.virtual import now, run_virtual


def test_timer_fires_at_the_earliest_deadline() -> None:
    async def main() -> None:
        fired: list[float] = []
        timer = DeadlineTimer(clock=now, on_due=lambda: fired.append(now()))
        for deadline in (5.0, 2.0, 9.0):
            timer.watch(deadline)
        await asyncio.sleep(20)
        assert fired == [2.0]

    run_virtual(main)


def test_rearm_takes_the_earliest_of_the_rest() -> None:
    async def main() -> None:
        fired: list[float] = []
        timer = DeadlineTimer(clock=now, on_due=lambda: fired.append(now()))
        timer.watch(2.0)
        timer.rearm([7.0, 3.0])
        await asyncio.sleep(20)
        assert fired == [3.0]

    run_virtual(main)


def test_cancelled_or_empty_timers_never_fire() -> None:
    async def main() -> None:
        fired: list[float] = []
        timer = DeadlineTimer(clock=now, on_due=lambda: fired.append(now()))
        timer.watch(2.0)
        timer.cancel()
        assert not timer.is_due
        timer.watch(3.0)
        timer.rearm([])
        await asyncio.sleep(20)
        assert fired == []
        assert not timer.is_due

    run_virtual(main)


def test_a_busy_loop_sees_that_a_deadline_passed() -> None:
    async def main() -> None:
        moment = [0.0]
        timer = DeadlineTimer(clock=lambda: moment[0], on_due=lambda: None)
        timer.watch(2.0)
        assert not timer.is_due
        moment[0] = 2.0
        assert timer.is_due
        timer.cancel()

    run_virtual(main)
