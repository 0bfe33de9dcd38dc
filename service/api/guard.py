"""Ends the work on a request when its time is over or its client has left.

One timer of the event loop serves all requests, as hardly any needs it.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive

from service.errors import ClientGone, DeadlineExceeded, RequestTimeout, ServiceError

WATCH_AFTER_S: Final = 0.05  # most requests are answered sooner and never pay for a watcher task
LOOK_AGAIN_MOST_S: Final = 1.0
NEVER: Final = float("inf")
TIMER_GRAIN_S: Final = 0.001  # uvloop fires up to this much early
_GONE: Final = "the client closed the connection before its answer was ready"
_LATE_BODY: Final = (
    "the whole body must arrive before the request's deadline, which passed; send it faster or "
    "raise `X-Request-Timeout-Ms`"
)


@dataclass(frozen=True, slots=True)
class BodyPace:
    """How slowly a body may come: `timeout_s` for all of it, longer only at `least_bytes_per_s`."""

    timeout_s: float
    least_bytes_per_s: float


class GuardTimer:
    """Looks at guards when the first of them is due: to join and to leave costs no timer.

    It belongs to the event loop of whoever joined last.
    """

    def __init__(self) -> None:
        self._guards: dict[Guard, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._due_s = NEVER

    def join(self, guard: "Guard", loop: asyncio.AbstractEventLoop) -> None:
        """Calls `guard.look` at its `due_s`, and again whenever it has set another."""
        self._guards[guard] = None
        if guard.due_s < self._due_s or self._loop is not loop:
            self._loop = loop
            self._arm(loop, guard.due_s)

    def leave(self, guard: "Guard") -> None:
        """Looks at the guard no more."""
        self._guards.pop(guard, None)

    def _arm(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due_s = due_s
        self._handle = loop.call_at(due_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle, self._due_s = None, NEVER
        now_s = loop.time() + TIMER_GRAIN_S
        for guard in list(self._guards):
            if guard.due_s <= now_s:
                guard.look(now_s)
        due_s = min([guard.due_s for guard in self._guards], default=NEVER)
        if due_s < NEVER:
            self._arm(loop, due_s)


class Guard:
    """Cancels the current task at the deadline, or when the client hangs up, and says which.

    Args:
        receive: the ASGI channel, watched for a disconnect once the body has been read.
        timeout_s: time that is left, in seconds.
        pace: of the body; it is told of what came by `received_bytes` and `body_read`.
        timer: which looks at it when it is due.
    """

    __slots__ = (
        *("_end_s", "_loop", "_look_again_s", "_pace", "_receive", "_start_s", "_task", "_timer"),
        *("_watcher", "body_read", "cause", "due_s", "received_bytes"),
    )

    def __init__(
        self, receive: Receive, timeout_s: float, pace: BodyPace, timer: GuardTimer
    ) -> None:
        self._receive = receive
        self._pace = pace
        self._timer = timer
        self._loop = asyncio.get_running_loop()
        self._start_s = now_s = self._loop.time()
        self._end_s = now_s + timeout_s
        self._look_again_s = WATCH_AFTER_S
        self._watcher: asyncio.Task[None] | None = None
        self.due_s = now_s + min(WATCH_AFTER_S, timeout_s, pace.timeout_s)
        self.received_bytes = 0
        self.body_read = False
        self.cause: ServiceError | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer.join(self, self._loop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self.cause is None or self._task.uncancel() > 0:
            return
        if kind is None or kind is asyncio.CancelledError:
            raise self.cause from None

    def look(self, now_s: float) -> None:
        """Stops the work if it is time to, else says in `due_s` when to look again."""
        self.due_s = self._end_s
        if now_s >= self._end_s:
            self._stop(DeadlineExceeded() if self.body_read else self._late_body(now_s))
        elif self.body_read:
            self._watcher = self._watcher or self._loop.create_task(self._watch())
        elif now_s >= self._body_end_s():
            self._stop(RequestTimeout(self._too_slow()))
        else:  # each time later, and many slow bodies at the same time, so that they cost little
            self._look_again_s = min(2 * self._look_again_s, LOOK_AGAIN_MOST_S)
            again_s = (now_s + self._look_again_s) // WATCH_AFTER_S * WATCH_AFTER_S
            self.due_s = min(again_s, self._end_s, self._body_end_s())

    def _body_end_s(self) -> float:
        pace = self._pace
        return self._start_s + pace.timeout_s + self.received_bytes / pace.least_bytes_per_s

    def _late_body(self, now_s: float) -> ServiceError:
        """What a body has missed that is not here at the deadline: the body time-out, if both."""
        pace = self._pace
        is_slow = self.received_bytes < (now_s - self._start_s) * pace.least_bytes_per_s
        if is_slow and now_s >= self._start_s + pace.timeout_s:
            return RequestTimeout(self._too_slow())
        return DeadlineExceeded(_LATE_BODY)

    def _too_slow(self) -> str:
        pace = self._pace
        return (
            f"a body must arrive within {pace.timeout_s:g} s, or at {pace.least_bytes_per_s:g} "
            f"bytes a second; got {self.received_bytes} bytes; send it faster, or change "
            "RFVAE_BODY_TIMEOUT_S"
        )

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self._stop(ClientGone(_GONE))

    def _stop(self, cause: ServiceError) -> None:
        self.due_s = NEVER
        if self.cause is None:
            self.cause = cause
            self._task.cancel()
