"""Debian's Prometheus, as `make test` unpacks it: where it is, and one that runs."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import ROOT

UNPACKED = ROOT / ".make/prometheus/usr/bin"
LONGEST_S = 60.0
_pause = threading.Event()


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    found = shutil.which(name, path=f"{UNPACKED}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"needs `{name}`: `make .make/prometheus`, or put it on the PATH")
    return found


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of one answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series that the expression gives now."""
        found = self.ask("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def until(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """As `query`, once it gives anything but NaN; fails when it takes too long."""
        end = time.monotonic() + LONGEST_S
        while time.monotonic() < end:
            found = self.query(expression)
            if found and all(value == value for _, value in found):
                return found
            _pause.wait(0.2)
        raise AssertionError(f"no answer within {LONGEST_S:g} s: {expression}")


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Runs the project's own configuration, with the target and a faster clock put in."""
    port = _free_port()
    command = [
        program("prometheus"),
        f"--config.file={_write_config(folder, target)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    running = subprocess.Popen(command)
    try:
        started = Prometheus(f"http://127.0.0.1:{port}")
        _wait_for(f"{started.url}/-/ready", running)
        yield started
    finally:
        running.terminate()
        running.wait(timeout=30)


def _write_config(folder: Path, target: str) -> Path:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = "1s"
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [target]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(url: str, running: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end and running.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            _pause.wait(0.1)
    raise AssertionError("Prometheus did not start")
