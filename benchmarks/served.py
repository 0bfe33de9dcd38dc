"""A server of the bundled models for a benchmark, and what the system says of its process."""

import io
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from usage import processor_s_of, resident_bytes_of

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-c", "from service.cli import main; main()", "serve", "--port", "0"]
QUIET = {
    "RFVAE_ACCESS_LOG": "none",
    "RFVAE_DRAIN_S": "0",
    "RFVAE_DEFAULT_MODEL": "oval-dsprites",
}


@contextmanager
def serve(**settings: str) -> Iterator[tuple[int, int]]:
    """A server on a free port: its process id and the port.

    Args:
        settings: environment variables beside `QUIET`; those of the caller's are left out.

    Raises:
        SystemExit: it did not become ready, or did not end well.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RFVAE_")}
    process = subprocess.Popen(
        COMMAND, cwd=ROOT, env={**kept, **QUIET, **settings}, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.pid, _port_of(process)
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=60) != 0:
            raise SystemExit(f"the server ended with {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _port_of(process: "subprocess.Popen[str]") -> int:
    """From the address that it prints once the models are ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise SystemExit("the server ended before it was ready")


def machine() -> str:
    """The processor's name, where the system tells it, and how many cores this process may use."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def free_port() -> int:
    """A port that nobody listened on a moment ago, for servers that cannot choose one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def processes_of(pid: int) -> list[int]:
    """The process and those that it started."""
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, started)]


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and those that it started; shared pages count once."""
    return resident_bytes_of(processes_of(pid))


def processor_s(pid: int) -> float:
    """User and system time that a process and those that it started have used."""
    return processor_s_of(processes_of(pid))


def as_png(picture: np.ndarray) -> bytes:
    """uint8 (height, width) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    """An array as `numpy.save` writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
