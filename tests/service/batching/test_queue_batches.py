"""What the batcher runs together, on which lane and when; each caller gets its own rows."""

from __future__ import annotations

import asyncio

import pytest

from service.batching.queue import Batcher, BatchPolicy
from tests.service.batching.bench import Bench, checked
from tests.service.batching.virtual import FakeModel, now, rows_from, run_virtual


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


def test_max_wait_leaves_a_request_half_of_its_time() -> None:
    async def main() -> None:
        bench = Bench(max_wait_ms=500, durations=[0.1])
        patient = bench.submit(0)
        await asyncio.sleep(0.1)
        hasty = bench.submit(1, deadline=0.5)
        await asyncio.gather(patient, hasty)
        assert bench.model.sizes == [2]
        assert now() == pytest.approx(0.4)

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


async def test_real_threads_give_each_caller_its_own_rows() -> None:
    model = FakeModel()
    batcher = Batcher(model.runners(), BatchPolicy(lanes=2, bucket_sizes=()))

    async def client(number: int) -> None:
        for turn in range(20):
            operation = "encode" if (number + turn) % 2 else "decode"
            rows = rows_from(number * 1000 + turn * 10, 1 + turn % 4)
            await checked(batcher.submit(operation, rows), operation, rows)

    await asyncio.gather(*(client(number) for number in range(16)))
    assert await batcher.drain() == 0
    assert max(model.sizes) > 4
