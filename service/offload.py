"""Processor work after inference: small pieces at once, large ones in threads of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """A change of thread costs more than a small piece of work, so the caller says its size."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="rfvae-work")

    async def run(
        self, large: bool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Calls the function here, or in a thread when `large`."""
        if not large:
            return function(*args, **kwargs)
        future = self._executor.submit(function, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Lets the threads go once their work ends."""
        self._executor.shutdown(wait=False, cancel_futures=True)
