"""Callers that leave, and a batcher that ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.batching.queue import Batcher, BatchPolicy
from service.errors import Draining
from tests.service.batching.bench import Bench
from tests.service.batching.virtual import FakeModel, now, rows_from, run_virtual


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


async def test_drain_lets_the_threads_go() -> None:
    batcher = Batcher(FakeModel().runners(), BatchPolicy(lanes=2))
    await batcher.submit("encode", rows_from(0, 20))
    lanes = [thread for thread in threading.enumerate() if thread.name.startswith("rfvae-lane")]
    await batcher.drain()
    for thread in lanes:
        thread.join(5)
    assert lanes
    assert not any(thread.is_alive() for thread in lanes)
