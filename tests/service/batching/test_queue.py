"""The batcher through its front door: what runs together, who gets what, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest

from service.batching.queue import Batcher, BatchPolicy, Result
from service.errors import (
    DeadlineExceeded,
    Draining,
    InferenceFailed,
    InvalidValue,
    QueueFull,
    QueueTooLong,
    TooManyRows,
)
from tests.service.batching.virtual import (
    POISON,
    FakeModel,
    Recorder,
    VirtualLanes,
    expected,
    now,
    rows_from,
    run_virtual,
)


class Bench:
    """A batcher on virtual lanes where each batch takes a second."""

    def __init__(self, *, durations: list[float] | None = None, **policy: Any) -> None:
        self.policy = BatchPolicy(**{"bucket_sizes": (), **policy})
        times = iter(durations or [])
        self.lanes = VirtualLanes(self.policy.lanes, lambda: next(times, 1.0))
        self.model = FakeModel()
        self.seen = Recorder()
        self.batcher = Batcher(
            self.model.runners(), self.policy, observer=self.seen, clock=now, executor=self.lanes
        )

    def submit(
        self, first: int, count: int = 1, operation: str = "encode", deadline: float | None = None
    ) -> asyncio.Task[Result]:
        rows = rows_from(first, count)
        work = self.batcher.submit(operation, rows, deadline=deadline)
        return asyncio.get_running_loop().create_task(_checked(work, operation, rows))

    def assert_empty(self) -> None:
        batcher = self.batcher
        assert batcher.pending_requests == 0
        assert (batcher.queue_rows, batcher.queue_bytes, batcher.running_rows) == (0, 0, 0)


async def _checked(work: Awaitable[Result], operation: str, rows: np.ndarray) -> Result:
    result = await work
    for output, right in zip(result.outputs, expected(operation, rows), strict=True):
        assert output.tolist() == right.tolist()
    return result


def test_one_request_gets_its_rows_and_its_times() -> None:
    async def main() -> None:
        bench = Bench()
        result = await bench.submit(0, 3)
        assert result.batch_rows == 3
        assert len(result.outputs) == 2
        assert result.queue_s == pytest.approx(1.0)  # virtual lanes run a job at its end
        assert result.infer_s == 0
        bench.assert_empty()

    run_virtual(main)


def test_requests_that_arrive_together_share_a_batch() -> None:
    async def main() -> None:
        bench = Bench()
        results = await asyncio.gather(*(bench.submit(10 * n, n) for n in (1, 2, 3)))
        assert [result.batch_rows for result in results] == [6, 6, 6]
        assert now() == 1.0

    run_virtual(main)


def test_a_large_request_is_split_and_put_together_again() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=8)
        result = await bench.submit(0, 21)
        assert bench.model.sizes == [8, 8, 5]
        assert result.batch_rows == 8

    run_virtual(main)


def test_requests_are_split_and_joined_at_once() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=4)
        await asyncio.gather(bench.submit(0, 3), bench.submit(10, 6), bench.submit(20, 1))
        assert bench.model.sizes == [4, 4, 2]

    run_virtual(main)


def test_parts_may_come_back_out_of_order() -> None:
    async def main() -> None:
        bench = Bench(lanes=2, max_batch_rows=4, durations=[5.0, 1.0, 1.0])
        await bench.submit(0, 10)
        assert now() == 5.0

    run_virtual(main)


def test_waiting_rows_are_shared_among_idle_lanes() -> None:
    async def main() -> None:
        bench = Bench(lanes=2, max_batch_rows=32)
        await bench.submit(0, 20)
        assert bench.model.sizes == [10, 10]
        assert now() == 1.0

    run_virtual(main)


def test_few_rows_are_not_shared_out() -> None:
    async def main() -> None:
        bench = Bench(lanes=2, min_share_rows=4)
        await bench.submit(0, 4)
        assert bench.model.sizes == [4]

    run_virtual(main)


def test_a_free_lane_waits_for_nobody_and_the_rest_joins_up() -> None:
    async def main() -> None:
        bench = Bench()
        first = bench.submit(0)
        await asyncio.sleep(0.1)
        second = bench.submit(1)
        await asyncio.sleep(0.1)
        others = [bench.submit(n) for n in range(2, 6)]
        await asyncio.gather(first, second, *others)
        assert bench.model.sizes == [1, 1, 4]  # running, prepared, and all that came later

    run_virtual(main)


@pytest.mark.parametrize("lanes", [1, 3])
def test_each_lane_has_at_most_one_batch_prepared(lanes: int) -> None:
    async def main() -> None:
        bench = Bench(lanes=lanes, max_batch_rows=1)
        await asyncio.gather(*(bench.submit(n) for n in range(20)))
        assert bench.lanes.most_jobs == 2 * lanes
        assert bench.lanes.jobs == 20

    run_virtual(main)


def test_batches_are_padded_to_the_next_size_with_zeros() -> None:
    async def main() -> None:
        bench = Bench(bucket_sizes=(1, 2, 4, 8), max_batch_rows=8)
        await asyncio.gather(bench.submit(0, 3), bench.submit(10, 2))
        assert bench.model.sizes == [8]
        assert bench.seen.batches[0][:4] == ("encode", 5, 8, 2)

    run_virtual(main)


def test_a_long_traversal_does_not_keep_an_encode_waiting() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=10)
        traversal = bench.submit(0, 200, operation="decode")
        await asyncio.sleep(0.5)
        await bench.submit(1000)
        assert now() == 3.0  # one batch was running, one prepared
        await traversal
        assert now() == 21.0

    run_virtual(main)


def test_operations_take_turns() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=2)
        await asyncio.gather(bench.submit(0, 6, "decode"), bench.submit(0, 6, "encode"))
        assert bench.model.operations == ["encode", "decode"] * 3

    run_virtual(main)


def test_max_wait_lets_more_rows_join() -> None:
    async def main() -> None:
        bench = Bench(max_wait_ms=500)
        first = bench.submit(0)
        await asyncio.sleep(0.4)
        second = bench.submit(1)
        await asyncio.gather(first, second)
        assert bench.model.sizes == [2]
        assert now() == pytest.approx(1.5)

    run_virtual(main)


def test_max_wait_does_not_hold_a_full_batch() -> None:
    async def main() -> None:
        bench = Bench(max_wait_ms=500, max_batch_rows=2)
        await asyncio.gather(bench.submit(0), bench.submit(1))
        assert now() == 1.0

    run_virtual(main)


def test_few_rows_with_nothing_under_way_run_inline() -> None:
    async def main() -> None:
        bench = Bench(inline_rows=2)
        await bench.submit(0, 2)
        assert bench.lanes.jobs == 0
        await bench.submit(0, 3)
        assert bench.lanes.jobs == 1
        bench.assert_empty()

    run_virtual(main)


def test_the_loop_turns_between_inline_batches_and_after_the_answers() -> None:
    async def main() -> None:
        bench = Bench(inline_rows=2, max_batch_rows=2)
        done: list[str] = []

        async def ask(name: str, first: int) -> None:
            await bench.submit(first, 2)
            done.append(name)
            if name == "first":  # the sockets that the loop reads between two batches
                asyncio.get_running_loop().call_soon(done.append, "between")

        await asyncio.gather(ask("first", 0), ask("second", 10))
        assert done == ["first", "between", "second"]
        assert bench.lanes.jobs == 0
        bench.assert_empty()

    run_virtual(main)


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


def test_inline_rows_that_fail_together_are_tried_alone() -> None:
    async def main() -> None:
        bench = Bench(inline_rows=4)
        good, bad = bench.submit(0, 2), bench.submit(POISON, 2)
        with pytest.raises(InferenceFailed):
            await bad
        await good
        bench.assert_empty()

    run_virtual(main)


def test_one_bad_request_never_fails_its_batch_mates() -> None:
    async def main() -> None:
        bench = Bench()
        tasks = [bench.submit(0), bench.submit(POISON), bench.submit(10, 3)]
        good, bad, other = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(good, Result)
        assert isinstance(other, Result)
        assert isinstance(bad, InferenceFailed)
        assert bad.detail.startswith("the model could not be run on this input")
        assert "poisoned" not in bad.detail
        assert isinstance(bad.__cause__, ZeroDivisionError)
        assert bench.seen.events == [
            ("failed", "encode", "3", "a poisoned row"),
            ("failed", "encode", "1", "a poisoned row"),
        ]
        assert bench.model.sizes == [5, 1, 1, 3]
        bench.assert_empty()

    run_virtual(main)


def test_errors_of_the_service_reach_the_caller_as_they_are() -> None:
    def refuse(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise InvalidValue("rows of this kind are not for this model; got such")

    async def main() -> None:
        batcher = Batcher({"encode": refuse}, clock=now, executor=VirtualLanes())
        with pytest.raises(InvalidValue, match="rows of this kind"):
            await batcher.submit("encode", rows_from(0, 1))

    run_virtual(main)


@pytest.mark.parametrize("outputs", [(), (np.zeros(3),), (np.zeros(2), np.zeros(1))])
def test_a_runner_that_loses_rows_is_an_error(outputs: tuple[np.ndarray, ...]) -> None:
    async def main() -> None:
        policy = BatchPolicy(bucket_sizes=())
        lanes = VirtualLanes()
        batcher = Batcher({"encode": lambda rows: outputs}, policy, clock=now, executor=lanes)
        with pytest.raises(InferenceFailed) as caught:
            await batcher.submit("encode", rows_from(0, 2))
        assert "must return 2 rows in each output" in str(caught.value.__cause__)

    run_virtual(main)


def test_rows_of_another_shape_fail_alone() -> None:
    async def main() -> None:
        bench = Bench()
        good = bench.submit(0)
        odd = asyncio.ensure_future(bench.batcher.submit("encode", np.zeros((1, 7), np.float32)))
        await good
        assert (await odd).outputs[0].shape == (1, 7)

    run_virtual(main)


def test_a_request_without_rows_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(InvalidValue, match="must have at least one row; got none"):
            await Bench().submit(0, 0)

    run_virtual(main)


def test_a_request_that_could_never_wait_is_too_large() -> None:
    async def main() -> None:
        bench = Bench(max_queue_rows=10)
        with pytest.raises(TooManyRows, match="may have 10 rows at most; got 11; send several"):
            await bench.submit(0, 11)

    run_virtual(main)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"max_queue_rows": 6}, "queue_rows"), ({"max_queue_bytes": 48}, "queue_bytes")],
)
def test_a_full_queue_refuses_at_once_and_has_room_again(
    limit: dict[str, int], reason: str
) -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=1, **limit)
        accepted = [bench.submit(n) for n in range(2)]
        await asyncio.sleep(0.5)  # one runs, one is prepared
        accepted += [bench.submit(n) for n in range(2, 8)]
        with pytest.raises(QueueFull, match=r"the queue is full; retry in 1.0 s"):
            await bench.submit(8)
        assert now() == 0.5
        assert bench.seen.events == [("rejected", "encode", reason)]
        await asyncio.gather(*accepted)
        await bench.submit(9)

    run_virtual(main)


def test_retry_after_comes_from_the_measured_rate() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=10, max_queue_rows=60)
        await bench.submit(0, 60)  # ten rows a second
        assert bench.batcher.rows_per_s == pytest.approx(10)
        waiting = [bench.submit(0, 20) for _ in range(3)]
        await asyncio.sleep(0.5)  # 20 rows are running or prepared, 40 wait
        with pytest.raises(QueueFull) as caught:
            await bench.submit(0, 30)
        assert caught.value.retry_after_s == pytest.approx(6.0, rel=0.2)
        await asyncio.gather(*waiting)

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


def test_a_caller_that_leaves_the_queue_frees_its_place() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=1, max_queue_rows=5)
        tasks = [bench.submit(n) for n in range(5)]
        await asyncio.sleep(0.1)
        waiting = bench.batcher.queue_rows
        tasks[-1].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bench.batcher.queue_rows == waiting - 1
        assert bench.seen.events == [("cancelled", "encode")]
        await asyncio.gather(*tasks[:-1])
        assert bench.lanes.jobs == 4
        bench.assert_empty()

    run_virtual(main)


def test_a_batch_that_everybody_left_is_not_run() -> None:
    async def main() -> None:
        bench = Bench()
        running = bench.submit(0)
        await asyncio.sleep(0.1)
        prepared = bench.submit(1)
        await asyncio.sleep(0.1)
        prepared.cancel()
        await running
        await asyncio.sleep(5)
        assert bench.model.sizes == [1]
        bench.assert_empty()

    run_virtual(main)


def test_a_caller_that_leaves_a_running_batch_harms_nobody() -> None:
    async def main() -> None:
        bench = Bench()
        tasks = [bench.submit(n) for n in range(3)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        await asyncio.gather(tasks[0], tasks[2])
        bench.assert_empty()

    run_virtual(main)


def test_drain_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=1)
        accepted = [bench.submit(n) for n in range(3)]
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(bench.batcher.drain())
        await asyncio.sleep(0)
        with pytest.raises(Draining, match="takes no new work"):
            await bench.submit(9)
        assert bench.seen.events == [("rejected", "encode", "draining")]
        assert await draining == 0
        assert all(task.done() for task in accepted)
        await asyncio.gather(*accepted)

    run_virtual(main)


def test_drain_does_not_wait_for_fuller_batches() -> None:
    async def main() -> None:
        bench = Bench(max_wait_ms=60_000)
        accepted = bench.submit(0)
        await asyncio.sleep(0.1)
        await bench.batcher.drain()
        assert now() == pytest.approx(1.1)
        await accepted

    run_virtual(main)


def test_drain_of_an_idle_batcher_returns_at_once() -> None:
    async def main() -> None:
        assert await Bench().batcher.drain() == 0
        assert now() == 0

    run_virtual(main)


def test_drain_cuts_off_what_takes_too_long() -> None:
    async def main() -> None:
        bench = Bench(max_batch_rows=1)
        tasks = [bench.submit(n) for n in range(5)]
        await asyncio.sleep(0)
        assert await bench.batcher.drain(timeout_s=2.5) == 3
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, Draining) for result in results] == [False] * 2 + [True] * 3
        assert bench.batcher.pending_requests == bench.batcher.queue_rows == 0

    run_virtual(main)


async def test_real_threads_give_each_caller_its_own_rows() -> None:
    model = FakeModel()
    batcher = Batcher(model.runners(), BatchPolicy(lanes=2, bucket_sizes=()))

    async def client(number: int) -> None:
        for turn in range(20):
            operation = "encode" if (number + turn) % 2 else "decode"
            rows = rows_from(number * 1000 + turn * 10, 1 + turn % 4)
            await _checked(batcher.submit(operation, rows), operation, rows)

    await asyncio.gather(*(client(number) for number in range(16)))
    assert await batcher.drain() == 0
    assert max(model.sizes) > 4


async def test_drain_lets_the_threads_go() -> None:
    batcher = Batcher(FakeModel().runners(), BatchPolicy(lanes=2))
    await batcher.submit("encode", rows_from(0, 20))
    lanes = [thread for thread in threading.enumerate() if thread.name.startswith("rfvae-lane")]
    await batcher.drain()
    for thread in lanes:
        thread.join(5)
    assert lanes
    assert not any(thread.is_alive() for thread in lanes)
