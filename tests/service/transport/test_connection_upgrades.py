"""Requests that offer an upgrade, which the server ignores, and CONNECT."""

import pytest

from tests.service.live import run, serve_app
from tests.service.transport.apps import CHUNKED, GET, OFFER, at_once, echo, problem_of


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
            status, _ = problem_of(await client.read_all())
            assert status == b"HTTP/1.1 400 Bad Request"
            assert live.refused == ["malformed"]

    run(test)
