"""The application under more than it can do, and with clients that send slowly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.asgi import call, http_scope
from tests.service.conftest import Gate, StartService, as_file, as_npy, picture
from tests.service.live import Live, run, serve_app

PNG = {"Content-Type": "image/png"}
GOOD = as_file(picture())
HEAD = (
    b"POST /encode HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\n"
    b"Content-Length: 1000\r\n\r\n"
)


@asynccontextmanager
async def _live(repository: Path, **settings: Any) -> AsyncIterator[Live]:
    """The application behind real sockets."""
    chosen = {"model_repository": (repository,), "lanes": 1, "access_log": "none", **settings}
    app = create_app(Settings(**chosen))
    async with app.router.lifespan_context(app):
        await app.state.service.lifecycle.settled()
        async with serve_app(app) as live:
            yield live


async def _never_read() -> Any:
    pytest.fail("the body was read")
    yield b""


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "path", ["/encode", "/factors", "/decode", "/traverse", "/v2/models/tiny/infer"]
)
async def test_app_asks_for_no_body_while_the_queue_is_full(
    start_service: StartService, gate: Gate, path: str
) -> None:
    async with start_service(gate.registry(max_queue_rows=1, max_batch_rows=1)) as started:
        post = started.client.post
        batcher = started.service.registry.get().batcher
        held = []
        while batcher.queue_rows == 0:
            held.append(asyncio.create_task(post("/encode", content=GOOD, headers=PNG)))
            await asyncio.sleep(0.001)
        answer = await post(path, content=_never_read(), headers={"Content-Type": "image/png"})
        gate.opened.set()
        await asyncio.gather(*held)

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


async def test_app_refuses_more_requests_than_may_be_under_way(
    start_service: StartService, gate: Gate
) -> None:
    async with start_service(gate.registry(), max_in_flight=2) as started:
        post = started.client.post
        held = [asyncio.create_task(post("/encode", content=GOOD, headers=PNG)) for _ in range(2)]
        batcher = started.service.registry.get().batcher
        await _until(lambda: batcher.pending_requests == 2)
        answer = await post("/encode", content=_never_read(), headers=PNG)
        health = await started.client.get("/livez")
        gate.opened.set()
        answers = await asyncio.gather(*held)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert "works on 2 requests at a time" in answer.json()["detail"]
    assert health.status_code == 200
    assert [one.status_code for one in answers] == [200, 200]


def test_app_answers_408_to_a_body_that_drips_and_ends_the_connection(repository: Path) -> None:
    async def test() -> None:
        async with _live(repository, body_timeout_s=0.1, min_body_bytes_per_s=10**9) as live:
            client = await live.connect()
            await client.send(HEAD)
            head, _, body = (await client.drip(b"x")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408")
            assert b"connection: close" in head
            assert b"a body must arrive within 0.1 s, or at 1e+09 bytes a second; got " in body

    run(test)


def test_app_keeps_a_connection_whose_small_body_it_refused_unread(repository: Path) -> None:
    async def test() -> None:
        async with _live(repository) as live:
            client = await live.connect()
            head = b"POST /none HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab"
            for _ in range(2):
                await client.send(head)
                answer = await client.read_until(b"}")
                assert answer.startswith(b"HTTP/1.1 404")
                assert b"connection: close" not in answer

    run(test)


def test_app_ends_a_connection_whose_body_it_does_not_wait_for(repository: Path) -> None:
    async def test() -> None:
        async with _live(repository) as live:
            client = await live.connect()
            await client.send(HEAD.replace(b"/encode", b"/none"))
            answer = await client.read_all()
            assert answer.startswith(b"HTTP/1.1 404")
            assert b"connection: close" in answer

    run(test)


async def test_app_logs_nothing_of_what_was_sent(
    start_service: StartService, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "c2VjcmV0LXBpY3R1cmU"
    bodies = {
        "image/png": as_file(picture())[:40] + secret.encode(),
        "application/json": f'{{"images": ["{secret}!"], "{secret}": 1}}'.encode(),
        "application/x-npy": as_npy(picture())[:80] + secret.encode(),
        f"text/{secret}": secret.encode(),
        "multipart/form-data; boundary=b": f"--b\r\n{secret}".encode(),
    }
    caplog.set_level("DEBUG")

    async with start_service(access_log="all", log_level="debug") as started:
        for media_type, body in bodies.items():
            headers = {"Content-Type": media_type, "Authorization": f"Bearer {secret}"}
            answer = await started.client.post("/encode", content=body, headers=headers)
            assert answer.status_code in (400, 415, 422)
        await call(started.app, http_scope("POST", f"/{secret}", query=f"dims={secret}"), [])

    logged = [vars(record) for record in caplog.records if record.name.startswith("service")]
    assert len(logged) > len(bodies)
    assert not [record for record in logged if secret in str(record)]
