"""Where the service stands between start and end; read by probes, set by app and server."""

import asyncio

from service.errors import ServiceError


class Lifecycle:
    """Starting, then started or failed, then draining; all of it on the event loop."""

    def __init__(self) -> None:
        self._settled = asyncio.Event()
        self.failure: ServiceError | None = None
        self.draining = False
        self.waits_for_others = False  # of several processes, until each has loaded its models

    @property
    def started(self) -> bool:
        """Whether the first load of the models went well, here and in the other processes."""
        loaded = self._settled.is_set() and self.failure is None
        return loaded and not self.waits_for_others

    def settle(self, failure: ServiceError | None = None) -> None:
        """Says that the first load is over, and how it failed if it did."""
        self.failure = failure
        self._settled.set()

    async def settled(self) -> ServiceError | None:
        """Waits for the end of the first load; returns how it failed."""
        await self._settled.wait()
        return self.failure
