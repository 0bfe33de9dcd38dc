"""Closed-loop load over HTTP from wrk, one thread; unpacked from Debian's package if need be."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNPACKED = Path(__file__).parents[1] / ".make/wrk"
DONE = """done = function(s, l, r) io.write(string.format(
'{"requests":%d,"us":%d,"errors":%d,"p50":%f,"p99":%f}', s.requests, s.duration,
s.errors.connect+s.errors.read+s.errors.write+s.errors.status+s.errors.timeout,
l:percentile(50)/1000, l:percentile(99)/1000)) end
"""


@dataclass(frozen=True)
class Request:
    """What is sent again and again."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def run(port: int, request: Request, *, clients: int, seconds: float) -> dict[str, Any]:
    """Sends for so long; returns `requests`, `us`, `errors`, `p50` and `p99` in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder) / "load.lua", Path(folder) / "body"
        body.write_bytes(request.body)
        headers = "".join(f'wrk.headers["{k}"]="{v}"\n' for k, v in request.headers.items())
        script.write_text(
            f'wrk.method="POST"\n{headers}local f=io.open("{body}","rb")\n'
            f'wrk.body=f:read("*a"); f:close()\n{DONE}'
        )
        command = [*_find(), "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s"]
        command += [str(script), f"http://127.0.0.1:{port}{request.path}"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seen: dict[str, Any] = json.loads(printed[printed.index("{") :])
    return seen


def _find() -> list[str]:
    """How to call wrk; unpacks Debian's packages on the first call where it is not installed."""
    if shutil.which("wrk"):
        return ["wrk"]
    if not (UNPACKED / "usr/bin/wrk").exists():
        UNPACKED.mkdir(parents=True, exist_ok=True)
        packages = ["wrk", "libluajit-5.1-2", "libluajit-5.1-common"]
        subprocess.run(["apt-get", "download", "-qq", *packages], cwd=UNPACKED, check=True)
        for package in UNPACKED.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, UNPACKED], check=True)
    libraries = next(UNPACKED.glob("usr/lib/*/libluajit-5.1.so.2")).parent
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(UNPACKED / "usr/bin/wrk")]
