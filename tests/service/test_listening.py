"""The listening socket, from its start to its end."""

import errno
import select
import socket
import sys

import pytest

from service.listening import AddressError, bind, close_without_loss, url_of


def test_bind_refuses_a_name_that_leads_nowhere() -> None:
    with pytest.raises(AddressError, match=r"cannot listen on host\.invalid port 1"):
        bind("host.invalid", 1)


def test_url_of_is_an_address_that_a_person_can_open() -> None:
    with bind("0.0.0.0", 0) as every, bind("127.0.0.1", 0) as one:
        urls = [url_of(listener).rsplit(":", 1)[0] for listener in (every, one)]

    assert urls == ["http://localhost", "http://127.0.0.1"]


def test_who_has_connected_is_given_away_when_the_listener_closes() -> None:
    listener = bind("127.0.0.1", 0)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    taken: list[socket.socket] = []

    close_without_loss(listener, taken.append)
    for number, (client, server) in enumerate(zip(clients, taken, strict=True)):
        with client, server:
            client.sendall(b"%d" % number)
            assert server.recv(1) == b"%d" % number


class _HeldListener(socket.socket):
    """One whose system refuses filters to plain users."""

    def setsockopt(self, *_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")


def test_listener_closes_where_it_may_not_go_deaf() -> None:
    taken: list[socket.socket] = []
    with bind("127.0.0.1", 0) as opened:
        listener = _HeldListener(fileno=opened.detach())

    with socket.create_connection(listener.getsockname()) as client:
        close_without_loss(listener, taken.append)
        with taken[0] as server:
            client.sendall(b"x")
            assert server.recv(1) == b"x"

    assert listener.fileno() == -1


@pytest.mark.skipif(sys.platform != "linux", reason="a listener goes deaf on Linux only")
def test_who_comes_while_the_listener_closes_is_refused_and_not_reset() -> None:
    listener = bind("127.0.0.1", 0)
    address = listener.getsockname()
    late = socket.socket()
    late.setblocking(False)

    def take(connection: socket.socket) -> None:
        with connection:
            late.connect_ex(address)  # between one look and the next

    with socket.create_connection(address), late:
        close_without_loss(listener, take)
        _, answered, _ = select.select([], [late], [], 20)
        outcome = late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    assert answered
    assert outcome == errno.ECONNREFUSED
