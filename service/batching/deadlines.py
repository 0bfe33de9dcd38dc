"""One timer for the earliest of many deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

NEVER = float("inf")


class DeadlineTimer:
    """Calls `on_due` at the earliest deadline that it was told of.

    Most requests finish long before their deadline, so one timer is armed and rarely moved, in
    place of one a request.
    """

    def __init__(self, *, clock: Callable[[], float], on_due: Callable[[], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._earliest = NEVER
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, deadline: float) -> None:
        """Arm for this deadline unless an earlier one is armed."""
        if deadline < self._earliest:
            self.cancel()
            self._earliest = deadline
            delay_s = max(0.0, deadline - self._clock())
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._on_due)

    def rearm(self, deadlines: Iterable[float]) -> None:
        """Forget what was armed and take the earliest of these."""
        self.cancel()
        earliest = min(deadlines, default=NEVER)
        if earliest != NEVER:
            self.watch(earliest)

    @property
    def is_due(self) -> bool:
        """Whether the deadline passed, which a busy loop may find out before the timer does."""
        return self._earliest != NEVER and self._earliest <= self._clock()

    def cancel(self) -> None:
        self._earliest = NEVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
