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
_DROP_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0)  # linux/filter.h: BPF_RET | BPF_K, 0 bytes


class AddressError(Exception):
    """The address cannot be listened on; the text is one line for a person."""


def bind(host: str, port: int) -> socket.socket:
    """Opens the listening socket.

    Raises:
        AddressError: the port is in use, or the address is not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise AddressError(_explain(error, host, port)) from None
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


def close_without_loss(listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
    """Gives away who has connected already, and closes; those who come now are refused.

    A listener that closes resets whom it did not accept, and somebody may connect between the last
    look and the close. So on Linux it goes deaf first: who calls then asks again a second later.
    Where the system lets only privileged users do that, those few are reset as everywhere else.
    """
    if sys.platform == "linux":
        code = ctypes.create_string_buffer(_DROP_ALL)
        program = struct.pack("HP", 1, ctypes.addressof(code))
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    with contextlib.suppress(OSError):  # no more files, for those that still wait
        for connection in accept_all(listener):
            take(connection)
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RD)
    listener.close()
