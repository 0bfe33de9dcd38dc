"""An event loop on which time passes only when nothing else is left to do, and lanes to match.

A test of seconds takes milliseconds, the same in every run; a loop that would wait for ever raises.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from service.batching.entries import Outputs
from service.batching.observer import BatchStats

T = TypeVar("T")
POISON = -1


class WaitsForEver(RuntimeError):
    """Nothing is ready and no timer is set."""


class _VirtualSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise WaitsForEver("nothing is ready and no timer is set")
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        selector = _VirtualSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def now() -> float:
    """The virtual time, for use as the batcher's clock."""
    return asyncio.get_running_loop().time()


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class VirtualLanes(Executor):
    """Runs jobs as `lanes` threads would, each for the time that `durations` gives.

    Attributes:
        most_jobs: the most jobs that were under way or waiting here at once.
        jobs: how many were started.
    """

    def __init__(self, lanes: int = 1, durations: Callable[[], float] = lambda: 1.0) -> None:
        self._free = lanes
        self._durations = durations
        self._waiting: deque[Callable[[], None]] = deque()
        self._held = 0
        self.most_jobs = 0
        self.jobs = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._held += 1
        self.most_jobs = max(self.most_jobs, self._held)
        self._waiting.append(lambda: fn(*args, **kwargs))
        self._start()
        return Future()

    def _start(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self.jobs += 1
            job = self._waiting.popleft()
            asyncio.get_running_loop().call_later(self._durations(), self._end, job)

    def _end(self, job: Callable[[], None]) -> None:
        job()
        self._free += 1
        self._held -= 1
        self._start()


class Recorder:
    """An observer that remembers; `seen` holds batches' stats and the other events as tuples."""

    def __init__(self) -> None:
        self.batches: list[BatchStats] = []
        self.events: list[tuple[str, ...]] = []

    def batch_finished(self, batch: BatchStats) -> None:
        self.batches.append(batch)

    def batch_failed(self, operation: str, requests: int, error: Exception) -> None:
        self.events.append(("failed", operation, str(requests), str(error)))

    def rejected(self, operation: str, reason: str) -> None:
        self.events.append(("rejected", operation, reason))

    def expired(self, operation: str, stage: str) -> None:
        self.events.append(("expired", operation, stage))

    def cancelled(self, operation: str) -> None:
        self.events.append(("cancelled", operation))


class FakeModel:
    """encode: x to (2x, x + 0.5); decode: x to (-x,). Rows with `POISON` fail their batch.

    Attributes:
        sizes: rows of every batch that ran, padding included.
        operations: its operation.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.operations: list[str] = []

    def runners(self) -> dict[str, Callable[[npt.NDArray[Any]], Outputs]]:
        return {"encode": self._encode, "decode": self._decode}

    def _encode(self, rows: npt.NDArray[Any]) -> Outputs:
        self._note("encode", rows)
        return rows * 2, rows + 0.5

    def _decode(self, rows: npt.NDArray[Any]) -> Outputs:
        self._note("decode", rows)
        return (-rows,)

    def _note(self, operation: str, rows: npt.NDArray[Any]) -> None:
        self.sizes.append(len(rows))
        self.operations.append(operation)
        if (rows == POISON).any():
            raise ZeroDivisionError("a poisoned row")


def rows_from(first: int, count: int) -> npt.NDArray[np.float32]:
    """(count, 2) rows that no other request has."""
    start = np.arange(first, first + count, dtype=np.float32)
    return np.stack([start, start + 0.25], axis=1)


def expected(operation: str, rows: npt.NDArray[Any]) -> Outputs:
    return (rows * 2, rows + 0.5) if operation == "encode" else (-rows,)
