"""The container's health check."""

import socket
from pathlib import Path

import pytest

from service.probe import main, obstacle
from tests.service.process import serve


def test_probe_finds_no_obstacle_when_the_service_is_ready(repository: Path) -> None:
    with serve(repository) as server:
        assert obstacle(server.port) is None
        assert '"status"' in str(obstacle(server.port, "/nowhere"))


def test_probe_says_that_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert str(obstacle(port)).startswith(f"no answer on port {port}: ")


def test_probe_asks_where_the_service_listens(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(repository, RFVAE_HOST="127.0.0.2") as server:
        monkeypatch.setenv("RFVAE_PORT", str(server.port))
        monkeypatch.setenv("RFVAE_HOST", "127.0.0.2")
        main()
        monkeypatch.setenv("RFVAE_HOST", "0.0.0.0")  # then it would listen on loopback too
        with pytest.raises(SystemExit, match=f"no answer on port {server.port}"):
            main()
