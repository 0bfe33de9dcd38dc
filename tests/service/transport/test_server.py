"""The server process: signals, and requests that are under way when it ends."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import as_file, picture
from tests.service.load import Load
from tests.service.process import COMMAND, ServerProcess, environment, last_words, serve

GOOD = as_file(picture())
HEAD = (
    b"POST /encode HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\n"
    b"Content-Length: %d\r\n\r\n" % len(GOOD)
)


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _begin_request(server: ServerProcess) -> socket.socket:
    """A request whose body is half there, and that the server has begun to serve."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(HEAD + GOOD[:20])
    text = ""
    while "rfvae_requests_in_flight 2.0" not in text:
        text = httpx.get(f"{server.url}/metrics").text
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_ends_well_on_a_signal(repository: Path, number: signal.Signals) -> None:
    with serve(repository) as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        code, errors = server.end(number)

    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells how often a thread was woken")
def test_server_sleeps_while_nobody_asks(repository: Path) -> None:
    with serve(repository, RFVAE_PROCESSES="1") as server:
        before = _wakes(server.process.pid)
        time.sleep(3)
        wakes = _wakes(server.process.pid) - before

    assert wakes < 15


def _wakes(pid: int) -> int:
    """How often the main thread of a process went to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt")).split()[1])


def test_server_finishes_an_accepted_request_after_the_signal(repository: Path) -> None:
    with serve(repository) as server, _begin_request(server) as connection:
        server.process.send_signal(signal.SIGTERM)
        _until_refused(server)
        connection.sendall(GOOD[20:])
        answer = _read_all(connection)
        code, _ = server.wait()

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer
    assert b'"mu":[[' in answer
    assert code == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_server_ends_well_on_a_signal_before_its_models_are_loaded(processes: str) -> None:
    with subprocess.Popen(  # the bundled models, as the tiny one is loaded before it can be stopped
        [*COMMAND, "serve", "--port", "0", "--processes", processes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(RFVAE_DRAIN_S="0"),
    ) as process:
        assert process.stderr is not None
        while "model_opened" not in process.stderr.readline():  # the self-test comes next
            pass
        process.send_signal(signal.SIGTERM)
        errors = last_words(process)

    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("processes", ["1", "3"])
@pytest.mark.parametrize("drain_s", ["0", "0.2"])
async def test_server_answers_every_request_that_was_sent_when_it_ends_under_load(
    repository: Path, drain_s: str, processes: str
) -> None:
    settings = {"RFVAE_DRAIN_S": drain_s, "RFVAE_PROCESSES": processes}
    with serve(repository, **settings, RFVAE_ACCESS_LOG="none") as server:
        load = Load(server.port, HEAD + GOOD)
        asking = asyncio.create_task(load.run(clients=16))
        while load.statuses.total() < 200:
            await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        await asking
        code, _ = server.wait()

    assert load.lost == []
    assert set(load.statuses) == {200}
    assert code == 0


def test_server_cuts_off_what_is_left_after_the_grace_time(repository: Path) -> None:
    with serve(repository, RFVAE_GRACE_S="1") as server, _begin_request(server) as connection:
        server.process.send_signal(signal.SIGTERM)
        head, _, body = _read_all(connection).partition(b"\r\n\r\n")
        code, errors = server.wait()

    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 503")
    assert problem["type"] == "urn:rfvae:problem:draining"
    assert b"content-type: application/problem+json" in head
    assert b"\r\nx-request-id: " + problem["request_id"].encode() in head
    assert problem["detail"].startswith("the service ended before this answer was ready")
    assert code == 0
    assert "timeout graceful shutdown exceeded" in errors
    *_, line = [json.loads(line) for line in errors.splitlines() if '"event":"request"' in line]
    assert (line["status"], line["outcome"], line["problem"]) == (503, "unavailable", "draining")
    assert "Traceback" not in errors


def test_server_is_not_ready_while_it_waits_for_balancers(repository: Path) -> None:
    with serve(repository, RFVAE_DRAIN_S="30") as server:
        server.process.send_signal(signal.SIGTERM)
        statuses = [200]
        while statuses[-1] == 200:
            statuses.append(httpx.get(f"{server.url}/readyz").status_code)
        answer = httpx.post(
            f"{server.url}/encode", content=GOOD, headers={"Content-Type": "image/png"}
        )
        code, _ = server.end(signal.SIGINT)

    assert statuses[-1] == 503
    assert answer.status_code == 200
    assert code == 0


def test_server_closes_a_connection_whose_request_is_no_http(repository: Path) -> None:
    with serve(repository) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            answer = _read_all(connection)
        alive = httpx.get(f"{server.url}/livez").status_code

    assert answer.startswith(b"HTTP/1.1 400")
    assert alive == 200


def test_server_answers_413_to_a_large_body_before_it_came(repository: Path) -> None:
    with (
        serve(repository) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
    ):
        connection.sendall(HEAD.replace(b"%d" % len(GOOD), b"99999999"))
        answer = connection.recv(65536)
        while b"}" not in answer:
            answer += connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"got 99999999" in answer


def test_server_answers_413_to_an_endless_chunked_body(repository: Path) -> None:
    with (
        serve(repository, RFVAE_MAX_BODY_BYTES="20000") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
    ):
        head = HEAD.replace(b"Content-Length: %d" % len(GOOD), b"Transfer-Encoding: chunked")
        connection.sendall(head)
        for _ in range(3):
            connection.sendall(b"2000\r\n" + b"x" * 8192 + b"\r\n")
        answer = _read_all(connection)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer
    assert b"got more" in answer


def _until_refused(server: ServerProcess) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=20).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # it waited to be accepted when the listener closed
            continue
