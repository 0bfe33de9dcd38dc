"""Where the service stands."""

import asyncio

from service.errors import NotReady
from service.lifecycle import Lifecycle


async def test_lifecycle_starts_once_the_first_load_went_well() -> None:
    lifecycle = Lifecycle()
    waiting = asyncio.create_task(lifecycle.settled())
    before = lifecycle.started
    lifecycle.settle()

    assert (before, lifecycle.started, await waiting) == (False, True, None)


async def test_lifecycle_has_not_started_when_the_load_failed() -> None:
    lifecycle = Lifecycle()
    failure = NotReady("no model")
    lifecycle.settle(failure)

    assert not lifecycle.started
    assert await lifecycle.settled() is failure
