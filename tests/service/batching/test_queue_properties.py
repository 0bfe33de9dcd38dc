"""Whatever the sizes, times, cancels and errors: own rows, no hang, nothing left behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching.queue import Batcher, BatchPolicy
from service.errors import DeadlineExceeded, Draining, InferenceFailed, QueueFull
from tests.service.batching.virtual import (
    POISON,
    FakeModel,
    VirtualLanes,
    expected,
    now,
    rows_from,
    run_virtual,
)

# Binary fractions, so that times can meet exactly.
moments = st.integers(0, 32).map(lambda ticks: ticks / 8)


@dataclass(frozen=True)
class Ask:
    """One caller: when it comes, what it wants, how long it waits, and when it leaves."""

    arrives: float
    operation: str
    count: int
    patience: float | None
    leaves_after: float | None
    is_poisoned: bool

    def rows(self, number: int) -> np.ndarray:
        rows = rows_from(1000 * (number + 1), self.count)
        if self.is_poisoned:
            rows[-1, 0] = POISON
        return rows


asks = st.builds(
    Ask,
    arrives=moments,
    operation=st.sampled_from(["encode", "decode"]),
    count=st.integers(1, 12),
    patience=st.none() | moments.map(lambda moment: moment + 0.125),
    leaves_after=st.none() | moments,
    is_poisoned=st.integers(0, 9).map(lambda draw: draw == 0),
)
policies = st.builds(
    BatchPolicy,
    max_batch_rows=st.integers(1, 9),
    max_queue_rows=st.integers(12, 40),
    max_queue_bytes=st.integers(96, 400),
    lanes=st.integers(1, 3),
    max_wait_ms=st.sampled_from([0.0, 0.0, 250.0]),
    bucket_sizes=st.sampled_from([(), (1, 2, 4, 8), (3, 9)]),
    min_share_rows=st.integers(1, 4),
    inline_rows=st.integers(0, 9),
)


async def _ask(batcher: Batcher, ask: Ask, number: int) -> Any:
    await asyncio.sleep(ask.arrives)
    rows = ask.rows(number)
    deadline = None if ask.patience is None else now() + ask.patience
    try:
        result = await batcher.submit(ask.operation, rows, deadline=deadline)
    except DeadlineExceeded as error:
        assert deadline is not None
        if now() < deadline and "even when nothing else waits" not in error.detail:
            raise AssertionError("a deadline that has not passed") from error
        return error
    except (QueueFull, InferenceFailed, Draining) as error:
        return error
    assert deadline is None or now() <= deadline
    for output, right in zip(result.outputs, expected(ask.operation, rows), strict=True):
        assert output.tolist() == right.tolist()
    return result


async def _leave(task: asyncio.Task[Any], ask: Ask) -> None:
    if ask.leaves_after is not None:
        await asyncio.sleep(ask.arrives + ask.leaves_after)
        task.cancel()


def _play(given_asks: list[Ask], policy: BatchPolicy, durations: list[float], drains: bool) -> Any:
    async def main() -> list[Any]:
        times = cycle(durations)
        lanes = VirtualLanes(policy.lanes, lambda: next(times))
        batcher = Batcher(FakeModel().runners(), policy, clock=now, executor=lanes)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(_ask(batcher, ask, n)) for n, ask in enumerate(given_asks)]
        leavers = [
            loop.create_task(_leave(task, ask)) for task, ask in zip(tasks, given_asks, strict=True)
        ]
        if drains:
            await asyncio.sleep(2)
            await batcher.drain()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*leavers)
        await asyncio.sleep(1000)  # batches that were left still come to their end
        assert batcher.pending_requests == 0
        assert (batcher.queue_rows, batcher.queue_bytes, batcher.running_rows) == (0, 0, 0)
        return outcomes

    return run_virtual(main)


@settings(max_examples=150)
@given(
    st.lists(asks, min_size=1, max_size=25),
    policies,
    st.lists(st.integers(1, 16).map(lambda ticks: ticks / 8), min_size=1, max_size=10),
    st.booleans(),
)
def test_every_caller_gets_its_own_rows_or_a_true_reason(
    given_asks: list[Ask], policy: BatchPolicy, durations: list[float], drains: bool
) -> None:
    outcomes = _play(given_asks, policy, durations, drains)
    for ask, outcome in zip(given_asks, outcomes, strict=True):
        if isinstance(outcome, asyncio.CancelledError):
            assert ask.leaves_after is not None
        elif isinstance(outcome, InferenceFailed):
            assert ask.is_poisoned
        elif isinstance(outcome, Draining):
            assert drains
        elif isinstance(outcome, AssertionError):
            raise outcome
        elif not isinstance(outcome, DeadlineExceeded | QueueFull):
            assert not ask.is_poisoned
            assert outcome.outputs


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), policies)
def test_with_room_and_time_everybody_is_answered(counts: list[int], policy: BatchPolicy) -> None:
    roomy = BatchPolicy(
        max_batch_rows=policy.max_batch_rows,
        lanes=policy.lanes,
        bucket_sizes=policy.bucket_sizes,
        max_wait_ms=policy.max_wait_ms,
    )
    given_asks = [
        Ask(n / 8, "decode" if n % 3 else "encode", count, None, None, False)
        for n, count in enumerate(counts)
    ]
    outcomes = _play(given_asks, roomy, [1.0], False)
    assert [len(outcome.outputs[0]) for outcome in outcomes] == counts
