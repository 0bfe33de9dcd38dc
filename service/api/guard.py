"""Ends the work on a request when its time is over or its client has left, with one timer."""

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive

from service.errors import ClientGone, DeadlineExceeded, RequestTimeout, ServiceError

WATCH_AFTER_S: Final = 0.05  # most requests are answered sooner and never pay for a watcher task
TIMER_GRAIN_S: Final = 0.001  # uvloop fires up to this much early
_GONE: Final = "the client closed the connection before its answer was ready"
_SLOW_BODY: Final = (
    "the whole body must arrive before the request's deadline, which passed; send it faster or "
    "raise `X-Request-Timeout-Ms`"
)


class Guard:
    """Cancels the current task at the deadline, or when the client hangs up, and says which.

    Args:
        receive: the ASGI channel, watched for a disconnect once the body has been read.
        timeout_s: time that is left, in seconds.
    """

    __slots__ = ("_end_s", "_loop", "_receive", "_task", "_timer", "_watcher", "body_read", "cause")

    def __init__(self, receive: Receive, timeout_s: float) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._end_s = self._loop.time() + timeout_s
        self._watcher: asyncio.Task[None] | None = None
        self.body_read = False
        self.cause: ServiceError | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = self._loop.call_at(self._next_s(), self._tick)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self.cause is None or self._task.uncancel() > 0:
            return
        if kind is None or kind is asyncio.CancelledError:
            raise self.cause from None

    def _next_s(self) -> float:
        return min(self._loop.time() + WATCH_AFTER_S, self._end_s)

    def _tick(self) -> None:
        if self._loop.time() >= self._end_s - TIMER_GRAIN_S:
            self._stop(DeadlineExceeded() if self.body_read else RequestTimeout(_SLOW_BODY))
        elif self.body_read:
            self._watcher = self._loop.create_task(self._watch())
            self._timer = self._loop.call_at(self._end_s, self._tick)
        else:
            self._timer = self._loop.call_at(self._next_s(), self._tick)

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self._stop(ClientGone(_GONE))

    def _stop(self, cause: ServiceError) -> None:
        if self.cause is None:
            self.cause = cause
            self._task.cancel()
