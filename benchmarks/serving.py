"""Our service against plain FastAPI and a bare onnxruntime loop: one encoder, one run, in turns.

    .venv/bin/python benchmarks/serving.py [--rounds 3] [--seconds 2] [--save]

Real HTTP over loopback from wrk (closed loop, one thread, on the same cores); Debian's package is
unpacked into .make/wrk where wrk is not installed. Prints medians over rounds; the last line is
JSON.
"""

import argparse
import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from served import as_npy, as_png, free_port, machine

from service.runtime.sessions import open_session

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "service/bundled/oval-dsprites/1"
UNPACKED = ROOT / ".make/wrk"
PNG, NPY, JSON = "image/png", "application/x-npy", "application/json"
DONE = """done = function(s, l, r) io.write(string.format(
'{"requests":%d,"us":%d,"errors":%d,"p50":%f,"p99":%f}', s.requests, s.duration,
s.errors.connect+s.errors.read+s.errors.write+s.errors.status+s.errors.timeout,
l:percentile(50)/1000, l:percentile(99)/1000)) end
"""
# name: path, content type, clients, images a request
LOADS = {
    **{f"png_{n}": ("/encode", PNG, n, 1) for n in (1, 8, 32, 64)},
    **{f"npy_{n}": ("/encode", NPY, n, 1) for n in (1, 8, 32, 64)},
    "npy64_4": ("/encode", NPY, 4, 64),
    "traverse_1": ("/traverse?dims=all&steps=11", PNG, 1, 1),
}
Figures = dict[str, float]


def main() -> None:
    """Measure and print."""
    options = _parse()
    with tempfile.TemporaryDirectory() as folder:
        servers = [start_ours(), start_plain()]
        try:
            rounds = [measure(servers, options, Path(folder)) for _ in range(options.rounds)]
        finally:
            for server in servers:
                server.stop()
    figures = report(rounds)
    if options.save:
        (ROOT / "benchmarks/results/serving.json").write_text(json.dumps(figures, indent=2) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of one load in one round")
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=LOADS)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/serving.json")
    return parser.parse_args()


class Server:
    """A system in a session of its own, so that its processes can be found and stopped."""

    def __init__(self, name: str, command: list[str], port: int, **environment: str) -> None:
        self.name, self.port = name, port
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_until_up(self, path: str) -> None:
        """Until `path` answers, for at most 60 s."""
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        sys.exit(f"{self.name} did not start")

    def cpu_s(self) -> float:
        """User and system time of all its processes."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self._process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it; a plain server's workers too."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(60)


def start_ours() -> Server:
    """With its default settings; the request lines go nowhere, as those of the other system."""
    port, script = free_port(), str(Path(sys.executable).parent / "rfvae-serve")
    server = Server("ours", [script, "serve", "--port", str(port)], port)
    server.wait_until_up("/readyz")
    return server


def start_plain() -> Server:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", "benchmarks/systems", "plain_app:app"]
    command += ["--workers", "2", "--no-access-log", "--port", str(port)]
    server = Server("plain", command, port, ENCODER=str(MODEL / "encoder.onnx"))
    server.wait_until_up("/openapi.json")
    return server


def measure(
    servers: list[Server], options: argparse.Namespace, folder: Path
) -> dict[str, dict[str, Figures]]:
    """One round: by load, by system."""
    figures: dict[str, dict[str, Figures]] = {}
    for load in options.loads:
        _, kind, _, images = LOADS[load]
        figures[load] = {}
        for server in servers:
            if server.name == "ours" or load.startswith("png"):
                figures[load][server.name] = run_load(server, load, options.seconds, folder)
        if kind == NPY and images > 1:
            figures[load]["bare"] = {"rps": bare_images_s(options.seconds) / images}
    return figures


def run_load(server: Server, load: str, seconds: float, folder: Path) -> Figures:
    path, kind, clients, images = LOADS[load]
    kind = JSON if server.name == "plain" else kind
    (folder / "body").write_bytes(make_body(kind, images))
    (folder / "load.lua").write_text(
        f'wrk.method="POST"; wrk.headers["Content-Type"]="{kind}"\n'
        f'local f=io.open("{folder}/body","rb"); wrk.body=f:read("*a"); f:close()\n{DONE}'
    )
    command = [*find_wrk(), "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s"]
    command += ["-s", str(folder / "load.lua"), f"http://127.0.0.1:{server.port}{path}"]
    before_s = server.cpu_s()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu_s = server.cpu_s() - before_s
    seen = json.loads(printed[printed.index("{") :])
    return {
        "rps": seen["requests"] / seen["us"] * 1e6,
        "p50_ms": seen["p50"],
        "p99_ms": seen["p99"],
        "errors": seen["errors"],
        "cpu_ms": cpu_s / max(1, seen["requests"]) * 1e3,
    }


def find_wrk() -> list[str]:
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


def make_body(kind: str, images: int) -> bytes:
    pixels = np.load(MODEL / "golden.npz")["image"][:, 0]  # (4, 64, 64)
    if kind == NPY:
        return as_npy(np.resize(pixels, (images, 64, 64)))
    png = as_png(pixels[0])
    return png if kind == PNG else json.dumps({"image": base64.b64encode(png).decode()}).encode()


def bare_images_s(seconds: float) -> float:
    """Images/s of single-thread lanes, as many as cores, at the best of three batch sizes."""
    session = open_session(MODEL / "encoder.onnx", threads=1)
    lanes = len(os.sched_getaffinity(0))
    return max(_bare(session, batch, lanes, seconds / 3) for batch in (8, 16, 32))


def _bare(session: object, batch: int, lanes: int, seconds: float) -> float:
    images = np.zeros((batch, 1, 64, 64), np.uint8)
    end = time.perf_counter() + seconds
    counts = [0] * lanes

    def lane(number: int) -> None:
        while time.perf_counter() < end:
            session.run(None, {"image": images})  # type: ignore[attr-defined]
            counts[number] += batch

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(lanes)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def report(rounds: list[dict[str, dict[str, Figures]]]) -> dict[str, dict[str, Figures]]:
    """Medians over rounds: a table, then JSON."""
    print(f"{machine()}, ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}, {len(rounds)} rounds\n")
    print("load        system      rps    p50 ms    p99 ms  errors  cpu ms")
    figures: dict[str, dict[str, Figures]] = {}
    for load, systems in rounds[0].items():
        for name, first in systems.items():
            one = {
                key: round(statistics.median(r[load][name][key] for r in rounds), 3)
                for key in first
            }
            figures.setdefault(name, {})[load] = one  # type: ignore[assignment]
            rest = [f"{one.get(k, 0):9.2f}" for k in ("p50_ms", "p99_ms", "errors", "cpu_ms")]
            print(f"{load:11} {name:7} {one['rps']:8.0f} {' '.join(rest)}")
    print(json.dumps(figures))
    return figures


if __name__ == "__main__":
    main()
