"""A batcher on virtual lanes, and callers that check what they get."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import numpy as np

from service.batching.queue import Batcher, BatchPolicy, Result
from tests.service.batching.virtual import (
    FakeModel,
    Recorder,
    VirtualLanes,
    expected,
    now,
    rows_from,
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
        """A caller with rows that begin with this number, who checks what comes back."""
        rows = rows_from(first, count)
        work = self.batcher.submit(operation, rows, deadline=deadline)
        return asyncio.get_running_loop().create_task(checked(work, operation, rows))

    def assert_empty(self) -> None:
        """Nothing waits and nothing runs."""
        batcher = self.batcher
        assert batcher.pending_requests == 0
        assert (batcher.queue_rows, batcher.queue_bytes, batcher.running_rows) == (0, 0, 0)


async def checked(work: Awaitable[Result], operation: str, rows: np.ndarray) -> Result:
    """The result, once its outputs are those of these rows."""
    result = await work
    for output, right in zip(result.outputs, expected(operation, rows), strict=True):
        assert output.tolist() == right.tolist()
    return result
