"""The count of requests that are not answered yet."""

from typing import Any

import pytest

from service.middleware.in_flight import InFlight
from tests.service.asgi import call, http_scope


async def test_in_flight_counts_while_a_request_runs() -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(layer.count)

    layer = InFlight(app)
    await call(layer, http_scope())

    assert (seen, layer.count) == ([1], 0)


async def test_in_flight_does_not_count_the_lifespan() -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(layer.count)

    layer = InFlight(app)
    await call(layer, {"type": "lifespan"})

    assert seen == [0]


async def test_in_flight_counts_down_when_the_app_fails() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("boom")

    layer = InFlight(app)
    with pytest.raises(RuntimeError, match="boom"):
        await call(layer, http_scope())

    assert layer.count == 0
