"""The threads that run batches and report back on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor


class Lanes:
    """Runs one job a lane at a time; further jobs wait prepared until a lane is free.

    Args:
        count: threads to start, one when the first job comes and so on.
        executor: runs the jobs instead of own threads; left running by `close`.
    """

    def __init__(self, count: int, executor: Executor | None = None) -> None:
        self._is_own = executor is None
        self._executor = executor or ThreadPoolExecutor(count, thread_name_prefix="rfvae-lane")

    def start(self, job: Callable[[], None], then: Callable[[], None]) -> None:
        """Run `job`, which must not raise, in a lane, and after it `then` on the event loop."""
        loop = asyncio.get_running_loop()
        self._executor.submit(_run, job, then, loop)

    def close(self) -> None:
        """Let the threads go once the job that they run has ended."""
        if self._is_own:
            self._executor.shutdown(wait=False)


def _run(
    job: Callable[[], None], then: Callable[[], None], loop: asyncio.AbstractEventLoop
) -> None:
    job()
    loop.call_soon_threadsafe(then)
