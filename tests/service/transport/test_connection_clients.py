"""Clients that do not read, are too many, are idle, or ask as the server ends."""

import asyncio
import socket
import time
from typing import Any

from service.transport.connection import LAST_LOOK_S
from tests.service.live import run, serve_app
from tests.service.transport.apps import (
    GET,
    SHORT_S,
    Held,
    answer_with,
    at_once,
    echo,
    problem_of,
)


def test_connection_is_cut_when_the_client_does_not_read() -> None:
    async def test() -> None:
        async def large(scope: Any, receive: Any, send: Any) -> None:
            await answer_with(send, b"x" * 50_000_000)

        async with serve_app(large, send_timeout_s=SHORT_S) as live:
            client = await live.connect()
            await client.send(GET)
            await live.wait_until_closed()
            assert live.refused == ["slow_reader"]

    run(test)


def test_connection_goes_on_while_the_client_reads() -> None:
    async def test() -> None:
        async def large(scope: Any, receive: Any, send: Any) -> None:
            await answer_with(send, b"x" * 50_000_000)

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
            status, problem = problem_of(answer)
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


def test_connection_that_is_idle_for_long_is_closed() -> None:
    async def test() -> None:
        async with serve_app(at_once, keep_alive_s=1) as live:
            client = await live.connect()
            await client.send(GET)

            assert (await client.read_all()).endswith(b"ok")

    run(test)
