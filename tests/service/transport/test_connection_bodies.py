"""Bodies: large, in pieces, with trailers, broken off, or still coming when the answer is out."""

import asyncio
import logging
from typing import Any

import pytest

from service.api.problems import Problems
from service.errors import ClientGone
from service.middleware.access_log import AccessLog
from service.middleware.request_id import RequestId
from service.observability.metrics import Metrics
from tests.service.live import run, serve_app
from tests.service.transport.apps import (
    CHUNKED,
    POST,
    SHORT_S,
    Held,
    answer_with,
    early,
    echo,
    headers_after_body,
    problem_of,
)


@pytest.mark.parametrize(("version", "first"), [(b"1.1", b"100 Continue"), (b"1.0", b"200 OK")])
def test_connection_asks_for_the_body_only_where_the_client_knows_100(
    version: bytes, first: bytes
) -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            head = b"POST / HTTP/%b\r\nHost: test\r\nExpect: 100-continue\r\n" % version
            await client.send(head + b"Connection: close\r\nContent-Length: 2\r\n\r\n", b"ab")
            answer = await client.read_all()
            assert answer.startswith(b"HTTP/1.1 " + first)
            assert answer.endswith(b"ab")

    run(test)


def test_connection_answers_431_to_endless_trailers() -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            await client.send(CHUNKED + b"2\r\nab\r\n0\r\n")
            await client.send(*[b"X: %s\r\n" % (b"x" * 4096)] * 100)
            assert (await client.read_all()).startswith(b"HTTP/1.1 431")

    run(test)


def test_connection_keeps_trailers_out_of_the_headers() -> None:
    async def test() -> None:
        async with serve_app(headers_after_body) as live:
            client = await live.connect()
            await client.send(CHUNKED, b"2\r\nab\r\n", b"0\r\nX-API-Key: stolen\r\n\r\n")
            answer = await client.read_until(b"transfer-encoding")
            assert b"x-api-key" not in answer

    run(test)


def test_connection_lets_a_body_of_many_small_chunks_through() -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            await client.send(CHUNKED, *[b"1\r\nx\r\n" * 2000] * 10, b"0\r\n\r\n")
            answer = await client.read_until(b"x" * 20_000)
            assert answer.startswith(b"HTTP/1.1 200")

    run(test)


def test_connection_lets_a_large_body_through() -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            for body in (b"a" * 300_000, b"b" * 70_000):
                head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(body)
                await client.send(head + body[:1], body[1:])
                await client.read_until(b"\r\n\r\n")
                answer = b""
                while len(answer) < len(body):
                    answer += await client.read_some()
                assert answer == body

    run(test)


def test_connection_keeps_the_pieces_of_a_body_that_nobody_reads_yet_in_order() -> None:
    held = Held()

    async def echo_later(scope: Any, receive: Any, send: Any) -> None:
        held.entered.set()
        await held.go.wait()
        await echo(scope, receive, send)

    async def test() -> None:
        async with serve_app(echo_later) as live:
            client = await live.connect()
            await client.send(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n")
            await held.entered.wait()
            await client.send(b"1\r\nf\r\n", b"2\r\ngh\r\n0\r\n\r\n")
            await asyncio.sleep(SHORT_S)
            held.go.set()
            await client.read_until(b"\r\n\r\nabcdefgh")

    run(test)


def test_connection_answers_400_to_a_broken_chunk_under_the_id_of_its_request() -> None:
    async def test() -> None:
        held = Held()
        async with serve_app(RequestId(held)) as live:
            client = await live.connect()
            await client.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Request-ID: mine\r\n\r\n"))
            await held.entered.wait()
            await client.send(b"no number\r\n")
            answer = await client.read_all()
            held.go.set()
            assert answer.startswith(b"HTTP/1.1 400")
            assert b"\r\nx-request-id: mine\r\n" in answer
            assert b'"request_id":"mine"' in answer

    run(test)


def test_connection_answers_400_to_a_broken_chunk_and_tells_the_application() -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            await client.send(CHUNKED, b"2\r\nab\r\n", b"no number\r\n")
            assert (await client.read_all()).startswith(b"HTTP/1.1 400")
            await client.close()
            await live.wait_until_closed()
            assert not live.server.server_state.tasks

    run(test)


@pytest.mark.parametrize("has_begun", [True, False])
@pytest.mark.parametrize("notices", [True, False])
def test_connection_that_answers_for_the_application_is_logged_as_what_it_said(
    caplog: pytest.LogCaptureFixture, notices: bool, has_begun: bool
) -> None:
    held = Held()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        held.entered.set()
        await held.go.wait()
        if notices:
            raise ClientGone("nobody reads the answer")
        await answer_with(send)

    async def test() -> None:
        layers = RequestId(AccessLog(Problems(app), metrics=Metrics(), choice="all"))
        async with serve_app(layers) as live:
            client = await live.connect()
            head = CHUNKED.replace(b"Host", b"X-Request-ID: 0123456789abcdef\r\nHost")
            if has_begun:
                await client.send(head)
                await held.entered.wait()
                await client.send(b"no number\r\n")
            else:
                await client.send(head + b"no number\r\n")
            _, problem = problem_of(await client.read_all())
            held.go.set()
            await client.close()
            while live.server.server_state.tasks:
                await asyncio.sleep(0.001)
        (line,) = [vars(one)["fields"] for one in caplog.records if one.name == "service"]
        assert line["request_id"] == problem["request_id"]
        assert (line["status"], line["problem"]) == (400, "malformed-input")

    with caplog.at_level(logging.INFO, logger="service"):
        run(test)


def test_connection_lets_a_client_that_still_sends_read_its_early_answer() -> None:
    async def test() -> None:
        async with serve_app(early) as live:
            client = await live.connect()
            await client.send(POST, *[b"x" * 65536] * 100)
            assert (await client.read_all()).endswith(b"ok")

    run(test)
