"""Nothing is accepted, run or delivered after its deadline."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from service.batching.queue import Batcher, BatchPolicy
from service.errors import DeadlineExceeded, QueueTooLong
from tests.service.batching.bench import Bench
from tests.service.batching.virtual import FakeModel, VirtualLanes, now, rows_from, run_virtual


def test_an_inline_batch_that_took_too_long_is_not_delivered() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def slow(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            loop.now += 2.0  # type: ignore[attr-defined]
            return (rows,)

        batcher = Batcher({"slow": slow}, BatchPolicy(inline_rows=1), clock=now)
        with pytest.raises(DeadlineExceeded):
            await batcher.submit("slow", rows_from(0, 1), deadline=1.0)
        assert batcher.pending_requests == 0

    run_virtual(main)


def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=10)
        await bench.submit(0, 60)  # ten rows a second
        start = now()
        waiting = bench.submit(0, 50)
        await asyncio.sleep(0.5)
        with pytest.raises(QueueTooLong, match="retry in"):
            await bench.submit(0, 10, deadline=start + 3)
        with pytest.raises(DeadlineExceeded, match="40 rows take 4 s at the present rate"):
            await bench.submit(0, 40, deadline=start + 3)
        assert bench.seen.events == [
            ("rejected", "encode", "deadline"),
            ("expired", "encode", "admission"),
        ]
        await bench.submit(0, 10, deadline=start + 12)
        await waiting

    run_virtual(main)


def test_a_deadline_that_has_passed_is_not_accepted() -> None:
    async def main() -> None:
        bench = Bench()
        with pytest.raises(DeadlineExceeded, match="must be ready before the request's deadline"):
            await bench.submit(0, deadline=0.0)
        assert bench.seen.events == [("expired", "encode", "admission")]
        assert bench.lanes.jobs == 0

    run_virtual(main)


def test_a_waiting_request_is_answered_at_its_deadline_and_never_run() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=1)
        others = [bench.submit(n) for n in range(4)]
        late = bench.submit(9, deadline=1.5)
        with pytest.raises(DeadlineExceeded):
            await late
        assert now() == pytest.approx(1.5)
        assert bench.seen.events == [("expired", "encode", "queue")]
        await asyncio.gather(*others)
        assert bench.lanes.jobs == 4
        bench.assert_empty()

    run_virtual(main)


def test_a_running_request_is_answered_at_its_deadline_too() -> None:
    async def main() -> None:
        bench = Bench(durations=[10.0])
        mate = bench.submit(0)
        late = bench.submit(1, deadline=2.0)
        with pytest.raises(DeadlineExceeded):
            await late
        assert now() == pytest.approx(2.0)
        assert bench.seen.events == [("expired", "encode", "running")]
        await mate
        bench.assert_empty()

    run_virtual(main)


def test_deadlines_that_come_later_first_are_kept_too() -> None:
    async def main() -> None:
        bench = Bench(durations=[10.0])
        tasks = [bench.submit(n, deadline=deadline) for n, deadline in enumerate((5.0, 1.0, 3.0))]
        moments = []
        for task in (tasks[1], tasks[2], tasks[0]):
            with pytest.raises(DeadlineExceeded):
                await task
            moments.append(now())
        assert moments == pytest.approx([1.0, 3.0, 5.0])

    run_virtual(main)


class LateClock:
    """A clock that runs ahead of the loop's timers, as on a loop that is too busy for them."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return now() + self.ahead


def test_a_busy_loop_delivers_nothing_late() -> None:
    async def main() -> None:
        clock = LateClock()
        model = FakeModel()
        batcher = Batcher(model.runners(), clock=clock, executor=VirtualLanes())
        late = asyncio.ensure_future(batcher.submit("encode", rows_from(0, 1), deadline=10.0))
        await asyncio.sleep(0.5)
        clock.ahead = 20.0
        with pytest.raises(DeadlineExceeded):
            await late
        assert now() == 1.0  # when its batch ended, before its timer

    run_virtual(main)


def test_a_busy_loop_starts_nothing_late() -> None:
    async def main() -> None:
        clock = LateClock()
        model = FakeModel()
        batcher = Batcher(model.runners(), clock=clock, executor=VirtualLanes())
        late = asyncio.ensure_future(batcher.submit("encode", rows_from(0, 1), deadline=10.0))
        asyncio.get_running_loop().call_soon(setattr, clock, "ahead", 20.0)
        with pytest.raises(DeadlineExceeded):
            await late
        assert model.sizes == []
        assert now() == 0

    run_virtual(main)
