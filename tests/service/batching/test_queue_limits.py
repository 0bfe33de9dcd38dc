"""How much may wait, and what those who come too late are told."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import InvalidValue, QueueFull, TooManyRows
from tests.service.batching.bench import Bench
from tests.service.batching.virtual import now, run_virtual


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
