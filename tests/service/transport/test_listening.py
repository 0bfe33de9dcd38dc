"""The listening socket, from its start to its end."""

import errno
import select
import socket
import sys

import pytest

from service.transport.listening import AddressError, bind, close_without_loss, deafen, url_of


def test_bind_refuses_a_name_that_leads_nowhere() -> None:
    with pytest.raises(AddressError, match=r"cannot listen on host\.invalid port 1"):
        bind("host.invalid", 1)


@pytest.mark.parametrize("host", ["a..b", ".example.com", f"{'x' * 70}.example.com"])
def test_bind_refuses_what_is_no_name(host: str) -> None:
    with pytest.raises(AddressError, match="it is no address and no name"):
        bind(host, 1)


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


def test_listener_says_that_it_may_not_go_deaf() -> None:
    with bind("127.0.0.1", 0) as opened, _HeldListener(fileno=opened.detach()) as listener:
        assert not deafen(listener)
        with socket.create_connection(listener.getsockname()):
            pass


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="a listener goes deaf on Linux only")


@on_linux
def test_who_calls_a_deaf_listener_is_refused_when_it_closes() -> None:
    listener = bind("127.0.0.1", 0)
    with socket.socket() as late:
        late.setblocking(False)

        assert deafen(listener)
        late.connect_ex(listener.getsockname())
        close_without_loss(listener, _take_nobody)
        _, answered, _ = select.select([], [late], [], 20)
        outcome = late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    assert answered
    assert outcome == errno.ECONNREFUSED


def _take_nobody(connection: socket.socket) -> None:
    connection.close()
    pytest.fail("somebody was let in")


@on_linux
def test_who_is_half_way_in_when_the_listener_goes_deaf_is_taken() -> None:
    listener = bind("127.0.0.1", 0)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)  # in with its first byte
    taken: list[socket.socket] = []

    with socket.create_connection(listener.getsockname(), timeout=20) as client:
        assert deafen(listener)
        client.sendall(b"x")
        select.select([listener], [], [], 20)
        close_without_loss(listener, taken.append)
        with taken[0] as server:
            assert server.recv(1) == b"x"
