"""The container's health check."""

import socket
from pathlib import Path

from service.probe import obstacle
from tests.service.process import serve


def test_probe_finds_no_obstacle_when_the_service_is_ready(repository: Path) -> None:
    with serve(repository) as server:
        assert obstacle(server.port) is None
        assert '"status"' in str(obstacle(server.port, "/nowhere"))


def test_probe_says_that_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert str(obstacle(port)).startswith(f"no answer on port {port}: ")
