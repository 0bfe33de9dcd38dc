"""One connection over a real socket: slow clients, long heads, too many clients, early answers."""

import asyncio
import json
import logging
import re
import socket
import time
from typing import Any

import pytest

from service.api.problems import Problems
from service.errors import ClientGone
from service.middleware.access_log import AccessLog
from service.middleware.request_id import RequestId
from service.observability.metrics import Metrics
from service.transport.connection import LAST_LOOK_S
from tests.service.live import run, serve_app

GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 20000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
SHORT_S = 0.05


async def _answer(send: Any, body: bytes = b"ok", headers: Any = ()) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def at_once(scope: Any, receive: Any, send: Any) -> None:
    await _answer(send)


async def early(scope: Any, receive: Any, send: Any) -> None:
    await _answer(send, headers=[(b"connection", b"close")])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await _answer(send, body)


async def headers_after_body(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["more_body"]:
        pass
    await _answer(send, b",".join(name for name, _ in scope["headers"]))


class Held:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.set()
        await self.go.wait()
        await _answer(send)


def _problem(answer: bytes) -> tuple[bytes, Any]:
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    status, *lines = head.split(b"\r\n")
    assert b"\r\ndate: " in head
    problem = json.loads(body)
    (request_id,) = [line for line in lines if line.startswith(b"x-request-id: ")]
    assert re.fullmatch(r"[0-9a-f]{16}", problem["request_id"])
    assert request_id == b"x-request-id: " + problem["request_id"].encode()
    return status, problem


def test_connection_answers_408_to_half_a_head() -> None:
    async def test() -> None:
        async with serve_app(at_once, head_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(GET[:-4])
            status, problem = _problem(await client.read_all())
            assert status == b"HTTP/1.1 408 Request Timeout"
            assert problem["detail"] == (
                f"the head of a request must arrive within 0.05 s; got {len(GET) - 4} bytes of it; "
                "send it faster, or raise RFVAE_HEAD_TIMEOUT_S"
            )
            assert live.refused == ["slow_head"]

    run(test)


def test_connection_does_not_wait_for_a_head_that_drips() -> None:
    async def test() -> None:
        async with serve_app(at_once, head_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(b"GET / HTTP/1.1\r\nX: ")
            assert (await client.drip(b"x")).startswith(b"HTTP/1.1 408")

    run(test)


def test_connection_does_not_wait_for_a_later_head_that_drips() -> None:
    async def test() -> None:
        async with serve_app(at_once, head_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(GET)
            assert (await client.read_until(b"ok")).startswith(b"HTTP/1.1 200")
            assert (await client.drip(b"\r\n")).startswith(b"HTTP/1.1 408")

    run(test)


def test_connection_that_asks_for_nothing_is_closed_without_a_word() -> None:
    async def test() -> None:
        async with serve_app(at_once, head_timeout_s=SHORT_S) as live:
            client = await live.connect()
            assert await client.read_all() == b""
            assert live.refused == []

    run(test)


def test_connection_outlives_the_head_timeout_while_its_request_is_answered() -> None:
    async def test() -> None:
        held = Held()
        async with serve_app(held, head_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(GET[:5], GET[5:])
            await held.entered.wait()
            asyncio.get_running_loop().call_later(3 * SHORT_S, held.go.set)
            assert (await client.read_until(b"ok")).startswith(b"HTTP/1.1 200")

    run(test)


def test_connection_answers_431_to_an_endless_head() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            await client.send(b"GET / HTTP/1.1\r\n", *[b"X-Name: %s\r\n" % (b"x" * 4096)] * 20)
            status, problem = _problem(await client.read_all())
            assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
            assert problem["detail"].startswith("the head of a request may have 65536 bytes; got ")
            assert live.refused == ["head_too_large"]

    run(test)


@pytest.mark.parametrize(
    ("name_bytes", "status"), [(60_000, b"200"), (66_000, b"431"), (400_000, b"431")]
)
def test_connection_limits_a_head_that_comes_at_once(name_bytes: int, status: bytes) -> None:
    body = b"y" * 100_000  # which is none of the head's
    head = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 100000\r\n"

    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            await client.send(head + b"X: %s\r\n\r\n" % (b"x" * name_bytes) + body)
            assert (await client.read_all()).startswith(b"HTTP/1.1 " + status)
            assert live.refused == (["head_too_large"] if status == b"431" else [])

    run(test)


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


def test_connection_answers_400_to_bytes_that_are_no_http() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            await client.send(b"\x16\x03\x01\r\n\r\n")
            status, problem = _problem(await client.read_all())
            assert status == b"HTTP/1.1 400 Bad Request"
            assert problem["type"] == "urn:rfvae:problem:malformed-input"
            assert live.refused == ["malformed"]

    run(test)


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", 1, 200), ("1.1", 0, 400), ("1.1", 2, 400), ("1.0", 0, 200), ("1.0", 2, 400)],
)
def test_connection_takes_a_request_that_says_for_which_host_it_is(
    version: str, hosts: int, status: int
) -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            lines = [f"GET / HTTP/{version}", *["hOST: test"] * hosts, "Connection: close"]
            await client.send("\r\n".join([*lines, "", ""]).encode())
            answer = await client.read_all()

            assert answer.startswith(b"HTTP/1.1 %d " % status)
            if status == 400:
                assert (
                    f"has one Host header, which RFC 9112, 3.2, asks for; got {hosts}"
                    in (_problem(answer)[1]["detail"])
                )

    run(test)


def test_connection_gives_each_answer_without_a_request_an_id_of_its_own() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            ids = set()
            for _ in range(3):
                client = await live.connect()
                await client.send(b"\x16\x03\x01\r\n\r\n")
                ids.add(_problem(await client.read_all())[1]["request_id"])
            assert len(ids) == 3

    run(test)


def test_connection_logs_the_id_of_an_answer_without_a_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            with caplog.at_level(logging.INFO):
                await client.send(b"\x16\x03\x01")
                _, problem = _problem(await client.read_all())
            (line,) = [one for one in caplog.records if one.getMessage() == "refused"]
            assert vars(line)["fields"] == {
                "request_id": problem["request_id"],
                "status": 400,
                "problem": "malformed-input",
            }

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


@pytest.mark.parametrize("notices", [True, False])
def test_connection_that_answers_for_the_application_is_logged_as_what_it_said(
    caplog: pytest.LogCaptureFixture, notices: bool
) -> None:
    held = Held()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        held.entered.set()
        await held.go.wait()
        if notices:
            raise ClientGone("nobody reads the answer")
        await _answer(send)

    async def test() -> None:
        layers = RequestId(AccessLog(Problems(app), metrics=Metrics(), choice="all"))
        async with serve_app(layers) as live:
            client = await live.connect()
            await client.send(CHUNKED.replace(b"Host", b"X-Request-ID: 0123456789abcdef\r\nHost"))
            await held.entered.wait()
            await client.send(b"no number\r\n")
            _, problem = _problem(await client.read_all())
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


def test_connection_is_cut_when_the_client_does_not_read() -> None:
    async def test() -> None:
        async def large(scope: Any, receive: Any, send: Any) -> None:
            await _answer(send, b"x" * 50_000_000)

        async with serve_app(large, send_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(GET)
            await live.wait_until_closed()
            assert live.refused == ["slow_reader"]

    run(test)


def test_connection_goes_on_while_the_client_reads() -> None:
    async def test() -> None:
        async def large(scope: Any, receive: Any, send: Any) -> None:
            await _answer(send, b"x" * 50_000_000)

        async with serve_app(large, send_timeout_s=1.0) as live:
            client = await live.connect()
            await client.send(GET)
            await client.read_until(b"\r\n\r\n")
            received = 0
            while received < 50_000_000:
                received += len(await client.read_some())
            assert live.refused == []

    run(test)


def test_connection_too_many_gets_429_when_all_are_busy() -> None:
    async def test() -> None:
        held = Held()
        async with serve_app(held, max_connections=1) as live:
            first = await live.connect()
            await first.send(GET)
            await held.entered.wait()
            second = await live.connect()
            answer = await second.read_all()
            status, problem = _problem(answer)
            assert status == b"HTTP/1.1 429 Too Many Requests"
            assert b"\r\nretry-after: 1\r\n" in answer
            assert "keeps 1 connections at most" in problem["detail"]
            held.go.set()
            assert (await first.read_until(b"ok")).startswith(b"HTTP/1.1 200")
            assert live.refused == ["connections"]

    run(test)


def test_connection_too_many_takes_the_place_of_the_one_that_is_idle_longest() -> None:
    async def test() -> None:
        async with serve_app(at_once, max_connections=2) as live:
            clients = [await live.connect(), await live.connect()]
            for client in reversed(clients):
                await client.send(GET)
                await client.read_until(b"ok")
            third = await live.connect()
            await third.send(GET)
            assert (await third.read_until(b"ok")).startswith(b"HTTP/1.1 200")
            assert await clients[1].read_all() == b""
            await clients[0].send(GET)
            assert (await clients[0].read_until(b"ok")).startswith(b"HTTP/1.1 200")
            assert live.refused == []

    run(test)


def test_connection_answers_a_request_that_comes_as_the_server_ends() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            await client.send(GET)
            await client.read_until(b"ok")
            live.server.should_exit = True
            (connection,) = live.server.server_state.connections
            connection.shutdown()
            await client.send(GET)
            assert (await client.read_until(b"ok")).startswith(b"HTTP/1.1 200")
            assert await client.read_all() == b""

    run(test)


def test_connection_is_read_before_it_closes_though_the_loop_comes_late() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        async with serve_app(at_once) as live:
            with ours, theirs, socket.create_connection(("127.0.0.1", live.port)) as client:
                client.sendall(GET)
                assert (await asyncio.to_thread(client.recv, 65536)).endswith(b"ok")

                def keep_the_loop() -> None:  # from its look at sockets until the timer is due
                    loop.remove_reader(theirs)
                    time.sleep(1.5 * LAST_LOOK_S)
                    client.sendall(GET)

                (connection,) = live.server.server_state.connections
                connection.shutdown()
                loop.add_reader(theirs, keep_the_loop)
                ours.send(b"now")
                assert (await asyncio.to_thread(client.recv, 65536)).endswith(b"ok")

    run(test)


def test_connection_answers_pipelined_requests_in_order() -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            post = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n"
            await client.send(post + b"1" + post + b"2" + post + b"3")
            for number in (b"1", b"2", b"3"):
                assert (await client.read_until(b"\r\n\r\n" + number)).startswith(b"HTTP/1.1 200")

    run(test)


def _offering(request: bytes, offer: bytes = OFFER) -> bytes:
    return request.replace(b"\r\n\r\n", b"\r\n" + offer + b"\r\n", 1)


_LENGTH_3 = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n"
_OFFERED = _offering(_LENGTH_3)


@pytest.mark.parametrize(
    "parts",
    [
        [_OFFERED + b"abc"],
        [_OFFERED, b"abc"],
        [_OFFERED, b"a", b"b", b"c"],
        [_OFFERED[:-1], b"\nabc"],
        [_offering(CHUNKED) + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"],
        [_offering(CHUNKED), b"1\r\na\r\n", b"2\r\nbc\r\n0\r\n\r\n"],
        [_offering(_LENGTH_3, b"Connection: upgrade\r\nUpgrade: websocket\r\n"), b"abc"],
    ],
    ids=["whole", "two", "bytes", "split head", "chunked", "chunks", "websocket"],
)
def test_connection_reads_the_body_of_a_request_that_offers_an_upgrade(
    parts: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            for _ in range(2):
                await live.receive(*parts)
                answer = await client.read_until(b"\r\n\r\nabc")
                assert answer.startswith(b"HTTP/1.1 200")
                assert b"connection: close" not in answer
            await client.send(_LENGTH_3 + b"xyz")
            assert (await client.read_until(b"xyz")).startswith(b"HTTP/1.1 200")
            assert live.refused == []

    run(test)
    assert caplog.messages == []


def test_connection_answers_a_request_without_a_body_that_offers_an_upgrade() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            await live.receive(*(bytes([byte]) for byte in _offering(GET)))
            assert (await client.read_until(b"ok")).startswith(b"HTTP/1.1 200")

    run(test)


_SMUGGLED = b"GET /models/nope HTTP/1.1\r\nHost: test\r\n\r\n"
_SMUGGLING = _offering(
    b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(_SMUGGLED),
    b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n",
)


@pytest.mark.parametrize("parts", [[_SMUGGLING + _SMUGGLED], [_SMUGGLING, _SMUGGLED]])
def test_connection_takes_no_body_for_a_request_where_an_upgrade_is_offered(
    parts: list[bytes],
) -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            await live.receive(*parts)
            answer = await client.read_all()
            assert answer.count(b"HTTP/1.1 200") == 1
            assert answer.endswith(b"\r\n\r\n" + _SMUGGLED)

    run(test)


def test_connection_answers_many_offers_in_one_packet_in_order() -> None:
    async def test() -> None:
        async with serve_app(echo) as live:
            client = await live.connect()
            await client.send(b"".join(_OFFERED + b"%03d" % number for number in range(500)))
            for number in range(500):
                assert await client.read_until(b"\r\n\r\n%03d" % number)

    run(test)


@pytest.mark.parametrize("target", [b"test:443", b"http://test/"])
def test_connection_refuses_connect(target: bytes) -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            await client.send(b"CONNECT %b HTTP/1.1\r\nHost: test\r\n\r\n" % target + GET)
            status, _ = _problem(await client.read_all())
            assert status == b"HTTP/1.1 400 Bad Request"
            assert live.refused == ["malformed"]

    run(test)


def test_connection_that_is_idle_for_long_is_closed() -> None:
    async def test() -> None:
        async with serve_app(at_once, keep_alive_s=1) as live:
            client = await live.connect()
            await client.send(GET)

            assert (await client.read_all()).endswith(b"ok")

    run(test)
