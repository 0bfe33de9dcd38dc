"""The caps on requests and bytes under way."""

import asyncio
import re
from typing import Any

import pytest

from service.errors import QueueFull
from service.middleware.body_limit import BodyLimit
from service.middleware.load_limit import RESERVED_BYTES, LoadLimit
from service.middleware.request_id import RequestId
from tests.service.asgi import Headers, call, http_scope


class Reader:
    """Reads the body, then waits until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.reads = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        more = scope["method"] == "POST"
        while more:
            more = (await receive())["more_body"]
            self.reads += 1
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Bench:
    """The layer between its neighbors."""

    def __init__(self, *, max_requests: int = 100, max_bytes: int = 10**6) -> None:
        self.reader = Reader()
        self.limit = LoadLimit(
            self.reader, max_requests=max_requests, max_bytes=max_bytes, retry_after_s=lambda: 2.5
        )
        self.app = RequestId(BodyLimit(self.limit, max_body_bytes=10**6))

    async def post(self, *chunks: bytes, declared: int | None = None) -> int:
        headers: Headers = {} if declared is None else {"content-length": str(declared)}
        return (await call(self.app, http_scope("POST", headers=headers), chunks)).status

    def start(self, *chunks: bytes, declared: int | None = None) -> "asyncio.Task[int]":
        return asyncio.create_task(self.post(*chunks, declared=declared))


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_load_limit_refuses_one_request_more_without_reading_it() -> None:
    bench = Bench(max_requests=2)
    held = [bench.start(b"x", declared=1), bench.start(b"x", declared=1)]
    await _until(lambda: bench.reader.reads == 2)

    text = "works on 2 requests at a time; retry in 2.5 s, or raise RFVAE_MAX_IN_FLIGHT"
    with pytest.raises(QueueFull, match=re.escape(text)) as caught:
        await bench.post(b"x", declared=1)

    assert caught.value.retry_after_s == 2.5
    assert bench.reader.reads == 2
    bench.reader.go.set()
    assert await asyncio.gather(*held) == [200, 200]
    assert (bench.limit.requests, bench.limit.bytes) == (0, 0)


async def test_load_limit_refuses_a_body_that_would_not_fit_without_reading_it() -> None:
    bench = Bench(max_bytes=100)
    held = bench.start(b"x" * 60, declared=60)
    await _until(lambda: bench.reader.reads == 1)

    text = "works on 100 bytes of bodies at a time; retry in 2.5 s, or raise"
    with pytest.raises(QueueFull, match=re.escape(text)):
        await bench.post(b"x" * 50, declared=50)

    assert bench.reader.reads == 1
    bench.reader.go.set()
    assert await held == 200


async def test_load_limit_refuses_a_streamed_body_when_it_no_longer_fits() -> None:
    bench = Bench(max_bytes=100)

    with pytest.raises(QueueFull):
        await bench.post(b"x" * 60, b"x" * 60, b"never read")

    assert bench.reader.reads == 1
    assert (bench.limit.requests, bench.limit.bytes) == (0, 0)


async def test_load_limit_counts_of_a_long_body_what_has_come() -> None:
    bench = Bench()
    length = RESERVED_BYTES + 1
    held = bench.start(b"x" * 10, declared=length)
    await _until(lambda: bench.reader.reads == 1)
    counted = bench.limit.bytes
    bench.reader.go.set()
    await held

    assert (counted, bench.limit.bytes) == (10, 0)


async def test_load_limit_lets_requests_without_a_body_through() -> None:
    bench = Bench(max_requests=1)
    held = bench.start(b"x", declared=1)
    await _until(lambda: bench.reader.reads == 1)
    bench.reader.go.set()

    assert (await call(bench.app, http_scope("GET"))).status == 200
    await held


async def test_load_limit_frees_the_place_of_a_request_that_is_cancelled() -> None:
    bench = Bench()
    held = bench.start(b"x", declared=1)
    await _until(lambda: bench.reader.reads == 1)
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held

    assert (bench.limit.requests, bench.limit.bytes) == (0, 0)
