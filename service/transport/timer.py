"""A call that is made later, unless it is called off."""

import asyncio
from collections.abc import Callable


class Timer:
    """At most one call waits; it runs on the loop. Slots, as each connection has four."""

    __slots__ = ("_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether a call waits."""
        return self._handle is not None

    def start(self, seconds: float, call: Callable[[], None]) -> None:
        """Makes this call in so many seconds, in the place of the one that waits."""
        self.cancel()
        self._handle = self._loop.call_later(seconds, self._make, call)

    def cancel(self) -> None:
        """Calls it off, if one waits."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _make(self, call: Callable[[], None]) -> None:
        self._handle = None
        call()
