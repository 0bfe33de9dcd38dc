"""Commands, connections and frames between two processes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from service.processes.link import (
    CONNECTION,
    COUNTS,
    DRAIN,
    END,
    GONE,
    Ends,
    make_link,
    read_commands,
    read_frame,
    write_frame,
)


@pytest.fixture
def link() -> Iterator[tuple[Ends, Ends]]:
    near, far = make_link()
    yield near, far
    near.close()
    far.close()


def test_commands_come_in_order_each_with_its_connection(link: tuple[Ends, Ends]) -> None:
    near, far = link
    ours, theirs = socket.socketpair()
    with ours:
        near.commands.send(DRAIN)
        socket.send_fds(near.commands, [CONNECTION], [theirs.fileno()])
        theirs.close()
        near.commands.send(END)
        (first, none), (second, connection), (third, _) = read_commands(far.commands)
        assert connection is not None
        with connection:
            connection.sendall(b"hello")
            received = ours.recv(5)

    assert [first, second, third] == [DRAIN, CONNECTION, END]
    assert none is None
    assert received == b"hello"


def test_nothing_comes_while_nothing_was_sent(link: tuple[Ends, Ends]) -> None:
    assert list(read_commands(link[1].commands)) == []


def test_the_end_of_the_other_side_is_the_last_command(link: tuple[Ends, Ends]) -> None:
    near, far = link
    near.commands.send(DRAIN)
    near.close()

    assert list(read_commands(far.commands)) == [(DRAIN, None), (GONE, None)]


@asynccontextmanager
async def _streams(ends: Ends) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(sock=ends.frames)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def test_frames_of_any_size_come_whole(link: tuple[Ends, Ends]) -> None:
    large = os.urandom(3 << 20)  # more than a socket holds
    async with _streams(link[0]) as (_, writer), _streams(link[1]) as (reader, _):
        write_frame(writer, COUNTS)
        write_frame(writer, COUNTS, large)
        frames = [await read_frame(reader), await read_frame(reader)]

    assert frames == [(COUNTS, b""), (COUNTS, large)]


async def test_a_frame_that_is_cut_short_is_the_end(link: tuple[Ends, Ends]) -> None:
    near, far = link
    near.frames.send(COUNTS + b"\0\0\0\x05abc")
    near.close()
    async with _streams(far) as (reader, _):
        assert await read_frame(reader) is None
