"""A serving system under test: its processes, what they use, and how one picture is put to it."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from usage import processor_s_of, resident_bytes_of, stat_of
from wrk import Request

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "service/bundled/oval-dsprites/1"
ENCODER = MODEL / "encoder.onnx"


@dataclass(frozen=True)
class Dialect:
    """How a system is asked for one PNG, and where mu is in its answer (of which dimensions)."""

    request: Callable[[bytes], Request]
    read_mu: Callable[[bytes], tuple[list[int], list[float]]]


class System:
    """Started in a session of its own, so that all its processes can be found and stopped."""

    def __init__(
        self, name: str, command: list[str], port: int, dialect: Dialect, **environment: str
    ) -> None:
        self.name, self.port, self.dialect = name, port, dialect
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_until_up(self, path: str) -> "System":
        """Until `path` answers, for at most a minute."""
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).close()
                return self
            except OSError:
                time.sleep(0.1)
        self.stop()
        sys.exit(f"{self.name} did not start")

    def ask(self, png: bytes) -> tuple[list[int], list[float]]:
        """Dimensions and mu of one picture."""
        sent = self.dialect.request(png)
        url = f"http://127.0.0.1:{self.port}{sent.path}"
        request = urllib.request.Request(url, sent.body, sent.headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return self.dialect.read_mu(answer.read())

    def cpu_s(self) -> float:
        """User and system time of all its processes."""
        return processor_s_of(self._processes())

    def memory_mib(self) -> float:
        """Resident memory; pages that its processes share count once."""
        return resident_bytes_of(self._processes()) / 2**20

    def stop(self) -> None:
        """Ends it, workers too."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    @contextmanager
    def paused(self) -> Iterator[None]:
        """All its processes stand still."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def _processes(self) -> Iterator[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            fields = stat_of(int(folder.name))
            if fields and int(fields[3]) == self._process.pid:
                yield int(folder.name)
