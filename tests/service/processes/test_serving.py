"""A real service of several processes, seen from outside."""

import asyncio
import json
import os
import resource
import select
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from service.processes import peers
from tests.service.conftest import as_file, picture
from tests.service.process import COMMAND, END_S, ServerProcess, environment, last_words, serve

GOOD = as_file(picture())
PNG = {"Content-Type": "image/png"}
REQUEST = (
    b"POST /encode HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\n"
    b"Content-Length: %d\r\n\r\n" % len(GOOD)
) + GOOD
BEAT_S = 0.5  # in place of seconds; more than a process that turns on a busy machine is late
QUICK_BEATS = f"from service.processes import leader; leader.BEAT_S = {BEAT_S}"


@pytest.fixture
def server(repository: Path) -> Iterator[ServerProcess]:
    with serve(repository, "--processes", "3") as started:
        yield started


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "gone"


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + END_S
    while any(_state(pid) not in ("gone", "Z") for pid in pids):
        assert time.monotonic() < deadline, [(pid, _state(pid)) for pid in pids]
        time.sleep(0.01)


def _let_pass(beats: int) -> None:
    """Waits in real time, as nothing outside tells of a beat."""
    select.select([], [], [], beats * BEAT_S)


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _no_more_files(pid: int) -> Iterator[None]:
    n_open = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (n_open, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _process_of(client: httpx.Client, server: ServerProcess) -> str:
    """What the ids of one process's requests begin with."""
    return client.get(f"{server.url}/livez").headers["x-request-id"].rsplit("-", 1)[0]


def _value(server: ServerProcess, series: str) -> float:
    text = httpx.get(f"{server.url}/metrics").text
    (line,) = [one for one in text.splitlines() if one.startswith(f"{series} ")]
    return float(line.rsplit(" ", 1)[1])


def test_welcome_comes_once_and_says_how_many_processes(server: ServerProcess) -> None:
    assert server.welcome.count("rfvae 0") == 1
    assert "in each of 3 processes" in server.welcome
    assert len(_children(server.process.pid)) == 2


def test_service_goes_on_when_its_welcome_cannot_be_written(repository: Path) -> None:
    disk_is_full = (
        "import typer; echo = typer.echo; "
        "typer.echo = lambda text: (echo(text), open('/dev/full', 'w', 1).write('\\n'))"
    )
    with serve(repository, "--processes", "3", before=disk_is_full) as started:
        answers = [httpx.get(f"{started.url}/readyz").status_code for _ in range(3)]
        code, errors = started.end()

    assert answers == [200] * 3
    assert (code, "Traceback" in errors) == (0, False)


def test_connections_go_to_the_process_with_the_fewest(server: ServerProcess) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(9)]
        first = [_process_of(client, server) for client in clients]
        stays, *leave = [one for one, name in zip(clients, first, strict=True) if name == first[0]]
        for client in leave:
            client.close()
        for _ in range(3):  # turns of that process's loop, in which it sees them leave
            _process_of(stays, server)
        later = [_process_of(stack.enter_context(httpx.Client()), server) for _ in leave]

    assert sorted(Counter(first).values()) == [3, 3, 3]
    assert later == [first[0]] * 2


def test_connections_for_one_request_each_go_to_all_processes_in_turn(
    server: ServerProcess,
) -> None:
    names = []
    for _ in range(9):
        with httpx.Client() as client:
            names.append(_process_of(client, server))

    assert sorted(Counter(names).values()) == [3, 3, 3]


def test_any_process_gives_the_counts_of_all(server: ServerProcess) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(3)]
        for client in clients:
            for _ in range(4):
                answer = client.post(f"{server.url}/encode", content=GOOD, headers=PNG)
                assert answer.status_code == 200
        texts = [client.get(f"{server.url}/metrics").text for client in clients]

    for text in texts:
        assert 'rfvae_requests_total{operation="encode",outcome="ok"} 12.0' in text
        assert 'rfvae_images_total{model="tiny"} 12.0' in text
        assert 'rfvae_model_loads_total{model="tiny",outcome="loaded"} 1.0' in text


def test_scrapes_at_the_same_time_are_all_answered(server: ServerProcess) -> None:
    async def scrape() -> list[int]:
        async with httpx.AsyncClient() as client:
            answers = [client.get(f"{server.url}/metrics") for _ in range(12)]
            return [answer.status_code for answer in await asyncio.gather(*answers)]

    assert asyncio.run(scrape()) == [200] * 12


def test_a_process_that_is_stuck_fails_the_scrape_and_is_named(server: ServerProcess) -> None:
    stuck = _children(server.process.pid)[0]
    with httpx.Client() as client:
        client.get(f"{server.url}/livez")  # the first connection is the leader's
        os.kill(stuck, signal.SIGSTOP)
        answer = client.get(f"{server.url}/metrics", timeout=END_S)
        alive = client.get(f"{server.url}/livez").status_code
        os.kill(stuck, signal.SIGCONT)
        later = client.get(f"{server.url}/metrics", timeout=END_S).status_code

    assert answer.status_code == 503
    assert "each process of the service must give its counts within 5 s" in answer.json()["detail"]
    assert (alive, later) == (200, 200)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_every_process_ends_the_service_well(
    server: ServerProcess, number: signal.Signals
) -> None:
    children = _children(server.process.pid)
    for child in children:  # as a terminal or systemd does
        os.kill(child, number)
    code, errors = server.end(number)

    assert code == 0
    assert "Traceback" not in errors
    _wait_until_gone(children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_processes_that_have_just_started_ends_them(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--processes", "3"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(RFVAE_DRAIN_S="0"),
    ) as process:
        while len(children := _children(process.pid)) < 2:
            pass
        for pid in [*children, process.pid]:
            os.kill(pid, number)
        errors = last_words(process)

    assert process.returncode == 0
    assert "Traceback" not in errors
    _wait_until_gone(children)


def test_a_process_that_is_behind_is_told_of_the_end(server: ServerProcess) -> None:
    behind = _children(server.process.pid)
    with ExitStack() as stack:
        for child in behind:
            os.kill(child, signal.SIGSTOP)
        for _ in range(1200):  # more than the sockets to the two take
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=END_S)
            stack.enter_context(connection)
        server.process.send_signal(signal.SIGTERM)
        while _is_open(server.port):
            pass
        for child in behind:
            os.kill(child, signal.SIGCONT)
        code, errors = server.wait()

    assert code == 0
    assert "connection_dropped" not in errors
    _wait_until_gone(behind)


def test_who_connects_waits_while_no_more_files_can_be_opened(server: ServerProcess) -> None:
    with _no_more_files(server.process.pid):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=END_S)
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        while "accept_failed" not in server.errors_so_far():
            pass
    with client:
        answer = client.recv(12)
    code, errors = server.end()

    assert answer == b"HTTP/1.1 200"
    assert code == 0
    assert all(json.loads(line) for line in errors.splitlines())


def test_a_connection_that_a_process_could_not_take_counts_as_closed(server: ServerProcess) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(timeout=END_S)) for _ in range(9)]
        _process_of(clients[0], server)  # the leader's; the next one is not
        with _no_more_files(_children(server.process.pid)[0]), pytest.raises(httpx.TransportError):
            _process_of(clients[1], server)
        names = [_process_of(client, server) for client in clients]
    _, errors = server.end()

    assert sorted(Counter(names).values()) == [3, 3, 3]
    assert errors.count("connection_dropped") == 1


def test_no_process_is_ready_while_the_service_drains(repository: Path) -> None:
    with serve(repository, "--processes", "2", RFVAE_DRAIN_S="30") as server, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(2)]
        before = [client.get(f"{server.url}/readyz").status_code for client in clients]
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            while client.get(f"{server.url}/readyz").status_code == 200:
                pass
        code, _ = server.end(signal.SIGINT)

    assert before == [200, 200]
    assert code == 0


def test_a_process_that_dies_ends_the_service_and_is_named(server: ServerProcess) -> None:
    victim, other = _children(server.process.pid)
    os.kill(victim, signal.SIGKILL)
    code, errors = server.wait()

    assert code == 1
    assert f"process {victim} ended by signal 9; it may have been out of memory" in errors
    assert "Traceback" not in errors
    _wait_until_gone([other])


def test_a_process_that_hangs_ends_the_service_and_is_named(repository: Path) -> None:
    with serve(repository, "--processes", "3", before=QUICK_BEATS) as server:
        hung, other = _children(server.process.pid)
        os.kill(hung, signal.SIGSTOP)
        code, errors = server.wait()

    assert code == 1
    assert errors.count(f"must reply within 3 s; process {hung} did not, and was killed") == 1
    assert "Traceback" not in errors
    _wait_until_gone([hung, other])


def test_a_process_that_keeps_the_lock_for_good_ends_the_service(repository: Path) -> None:
    """Its loop no longer turns, though the process runs."""
    keep = (
        "import ctypes, os, signal; "
        "signal.signal(signal.SIGUSR1, lambda *_: ctypes.PyDLL(None).pause())"
    )
    with serve(repository, "--processes", "2", before=f"{QUICK_BEATS}; {keep}") as server:
        (hung,) = _children(server.process.pid)
        os.kill(hung, signal.SIGUSR1)
        code, errors = server.wait()

    assert code == 1
    assert f"process {hung} did not, and was killed" in errors
    _wait_until_gone([hung])


def test_a_service_that_is_paused_as_a_whole_goes_on(repository: Path) -> None:
    with serve(repository, "--processes", "3", before=QUICK_BEATS) as server, httpx.Client() as one:
        pids = [server.process.pid, *_children(server.process.pid)]
        one.get(f"{server.url}/livez")  # the leader's
        _let_pass(beats=2)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        _let_pass(beats=peers.SILENT_BEATS + 2)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        answer = one.get(f"{server.url}/metrics", timeout=END_S)
        code, errors = server.end()

    assert answer.status_code == 200
    assert code == 0
    assert "must reply" not in errors


def test_the_others_end_when_the_leader_is_killed(server: ServerProcess) -> None:
    children = _children(server.process.pid)
    server.process.kill()
    server.process.wait(END_S)

    _wait_until_gone(children)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=END_S)


def test_requests_under_way_are_cut_off_after_the_grace_time(repository: Path) -> None:
    with serve(repository, "--processes", "2", RFVAE_GRACE_S="1") as server, ExitStack() as stack:
        for _ in range(2):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=END_S)
            stack.enter_context(connection).sendall(REQUEST[:-10])
        while _value(server, "rfvae_requests_in_flight") < 3:
            pass
        code, errors = server.end()

    assert code == 0
    assert errors.count("running task(s), timeout graceful shutdown exceeded") == 2
