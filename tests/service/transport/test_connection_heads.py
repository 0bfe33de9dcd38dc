"""What a connection takes for the head of a request, and how long it waits for one."""

import asyncio
import logging

import pytest

from tests.service.live import run, serve_app
from tests.service.transport.apps import GET, SHORT_S, Held, at_once, echo, problem_of


def test_connection_answers_408_to_half_a_head() -> None:
    async def test() -> None:
        async with serve_app(at_once, head_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(GET[:-4])
            status, problem = problem_of(await client.read_all())
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
            status, problem = problem_of(await client.read_all())
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


def test_connection_answers_400_to_bytes_that_are_no_http() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            client = await live.connect()
            await client.send(b"\x16\x03\x01\r\n\r\n")
            status, problem = problem_of(await client.read_all())
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
                    in (problem_of(answer)[1]["detail"])
                )

    run(test)


def test_connection_gives_each_answer_without_a_request_an_id_of_its_own() -> None:
    async def test() -> None:
        async with serve_app(at_once) as live:
            ids = set()
            for _ in range(3):
                client = await live.connect()
                await client.send(b"\x16\x03\x01\r\n\r\n")
                ids.add(problem_of(await client.read_all())[1]["request_id"])
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
                _, problem = problem_of(await client.read_all())
            (line,) = [one for one in caplog.records if one.getMessage() == "refused"]
            assert vars(line)["fields"] == {
                "request_id": problem["request_id"],
                "status": 400,
                "problem": "malformed-input",
            }

    run(test)
