"""The listening socket: opened with errors for people, emptied before it closes."""

import contextlib
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Final

BACKLOG: Final = 2048
_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h of Linux; Python has no name for it
_DROP_CALLS: Final = b"".join(  # linux/filter.h; a call has SYN without ACK, RFC 9293, 3.1
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # A = flags of the TCP header
        (0x54, 0, 0, 0x12),  # A &= SYN | ACK
        (0x15, 0, 1, 0x02),  # go on if A is SYN, else behind the next
        (0x06, 0, 0, 0),  # keep 0 bytes
        (0x06, 0, 0, 0xFFFFFFFF),  # keep all
    )
)


class AddressError(Exception):
    """The address cannot be listened on; the text is one line for a person."""


def bind(host: str, port: int) -> socket.socket:
    """Opens the listening socket.

    Raises:
        AddressError: the port is in use, or the address is none, or not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise AddressError(_explain(error, host, port)) from None
    except UnicodeError:  # a name that DNS cannot hold
        text = f"cannot listen on {host[:80]}: it is no address and no name; choose one with --host"
        raise AddressError(text) from None
    listener.setblocking(False)
    return listener


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use; stop the program that has it, or choose another "
            "with --port"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one from 1024 up"
    return f"cannot listen on {host} port {port}: {error.strerror}; choose an address with --host"


def url_of(listener: socket.socket) -> str:
    """The address that a person can open."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Every connection that is complete and waits.

    Raises:
        OSError: this process or the system can open no more files.
    """
    with contextlib.suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


def deafen(listener: socket.socket) -> bool:
    """Takes nobody new from here on, while those who are half-way in come in; not with all systems.

    Who calls later asks again after a second, when the listener has closed, and is refused. Without
    it a client that connects while the listener closes believes that it is in, and is reset.

    Returns:
        Whether the listener is deaf: on Linux, where plain users may filter what a socket gets.
    """
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(_DROP_CALLS)
    program = struct.pack("HP", len(_DROP_CALLS) // 8, ctypes.addressof(code))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def close_without_loss(listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
    """Gives away who has connected already, and closes."""
    with contextlib.suppress(OSError):  # no more files, for those that still wait
        for connection in accept_all(listener):
            take(connection)
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RD)
    listener.close()
