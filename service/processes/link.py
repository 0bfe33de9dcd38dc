"""What the leader, who takes the connections, and its followers say to each other.

Two pairs of stream sockets for each follower. One has the leader's commands of a byte each, a
connection's with its file descriptor; its end is the leader's end. The other has frames.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

# Commands.
CONNECTION: Final = b"c"
STARTED: Final = b"s"  # every process has loaded its models
DRAIN: Final = b"d"
END: Final = b"e"
CUT: Final = b"k"  # do not wait for requests that are under way
GONE: Final = b""  # what is read when the other side has ended
AT_ONCE: Final = 16  # connections in one turn of the loop, which frees their places in between

# Frames. `COUNTS` answers `ASK`, in both directions; the leader's `BEAT` is answered by another.
SETTLED: Final = b"s"  # the models of this process are loaded
FAILED: Final = b"f"  # they could not be; why
ASK: Final = b"a"
COUNTS: Final = b"n"
BEAT: Final = b"b"

_HEAD: Final = struct.Struct("!cI")
Frame = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Ends:
    """One side of the two sockets."""

    commands: socket.socket
    frames: socket.socket

    def close(self) -> None:
        """Closes both."""
        self.commands.close()
        self.frames.close()


def make_link() -> tuple[Ends, Ends]:
    """The leader's side and the follower's side."""
    commands, frames = socket.socketpair(), socket.socketpair()
    for end in (*commands, *frames):
        end.setblocking(False)
    return Ends(commands[0], frames[0]), Ends(commands[1], frames[1])


def read_commands(commands: socket.socket) -> Iterator[tuple[bytes, socket.socket | None]]:
    """The commands that are here, each with its connection if it is one's; GONE is the last.

    A connection is lost on the way if this process can open no more files.
    """
    command = CONNECTION
    with suppress(BlockingIOError):
        while command != GONE:
            try:
                command, descriptors, _, _ = socket.recv_fds(commands, 1, 1)
            except ConnectionResetError:
                command, descriptors = GONE, []
            yield command, socket.socket(fileno=descriptors[0]) if descriptors else None


def write_frame(writer: asyncio.StreamWriter, kind: bytes, content: bytes = b"") -> None:
    """Sends one frame in time; the other side always reads."""
    writer.write(_HEAD.pack(kind, len(content)) + content)


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None when the other side has ended."""
    try:
        kind, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        return kind, await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
