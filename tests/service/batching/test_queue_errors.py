"""What fails in a batch, and that its mates do not."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from service.batching.queue import Batcher, BatchPolicy, Result
from service.errors import InferenceFailed, InvalidValue
from tests.service.batching.bench import Bench
from tests.service.batching.virtual import POISON, VirtualLanes, now, rows_from, run_virtual


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
