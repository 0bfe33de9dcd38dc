"""A long run at a steady share of what the service can do: does its memory stay, does nothing fail?

    .venv/bin/python benchmarks/soak.py [--seconds 1200] [--share 0.8] [--idle-seconds 30]

Starts a server of its own with the bundled model, measures what it costs idle (beside as many
processes that do nothing but sleep, for what the machine charges for that), then its capacity
under a mix of requests (closed loop, same clients, same cores), then sends that mix at `share` of
it by the clock. `growth_mb` is the resident memory of the last tenth less that of the tenth after
the warm-up, medians of both. Prints a table, then one line of JSON.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

import numpy as np
from served import as_npy, as_png, processes_of, resident_bytes, serve
from usage import processor_s_of

CLIENTS = 32
SAMPLE_EVERY_S = 1.0
WARM_UP_SHARE, TENTH = 0.2, 0.1
MB = 1e6
PNG, NPY, JSON = "image/png", "application/x-npy", "application/json"
INFER = "/v2/models/oval-dsprites/infer"


@dataclass(frozen=True)
class Request:
    """Bytes to send, and the status that must come back."""

    raw: bytes
    status: int = 200


@dataclass
class Tally:
    """What came back."""

    answered: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    options = parse_arguments()
    with serve() as (pid, port):
        servers = processes_of(pid)
        with sleepers(len(servers)) as asleep:
            idle, floor = idle_cpu_percent([servers, asleep], options.idle_seconds)
        print(f"idle CPU over {options.idle_seconds:g} s: {idle:.2f} %", end=", ")
        print(f"processes that sleep: {floor:.2f} %", flush=True)
        figures = asyncio.run(soak(pid, port, options))
    figures |= {"idle_cpu_percent": round(idle, 3), "sleepers_cpu_percent": round(floor, 3)}
    for name, value in figures.items():
        print(f"{name:20} {value}")
    print(json.dumps(figures))


def parse_arguments() -> argparse.Namespace:
    """The options; the length may come from `SOAK_SECONDS`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    seconds = float(os.environ.get("SOAK_SECONDS", "1200"))
    parser.add_argument("--seconds", type=float, default=seconds, help="of the steady load")
    parser.add_argument("--share", type=float, default=0.8, help="of the measured capacity")
    parser.add_argument("--capacity-seconds", type=float, default=15)
    parser.add_argument("--idle-seconds", type=float, default=30)
    return parser.parse_args()


async def soak(pid: int, port: int, options: argparse.Namespace) -> dict[str, Any]:
    """Capacity, then the steady load with memory looked at every second."""
    mix = make_mix()
    before = Tally()
    await load(port, mix, before, until=time.monotonic() + options.capacity_seconds)
    capacity = before.answered / options.capacity_seconds
    rate = capacity * options.share
    print(f"capacity {capacity:.0f} requests/s; {rate:.0f}/s for {options.seconds:g} s", flush=True)
    tally, memory = Tally(), [resident_bytes(pid)]
    watcher = asyncio.create_task(watch(pid, memory))
    end = time.monotonic() + options.seconds
    await load(port, mix, tally, until=end, rate=rate)
    watcher.cancel()
    wrong = before.wrong + tally.wrong
    if wrong:
        print(f"wrong answers: {dict(wrong)}")
    quantiles = statistics.quantiles(tally.latencies_s or [0, 0], n=100)
    return {
        "seconds": options.seconds,
        "capacity_rps": round(capacity, 1),
        "wanted_rps": round(rate, 1),
        "rps": round(tally.answered / options.seconds, 1),
        "errors": wrong.total(),
        "p50_ms": round(quantiles[49] * 1e3, 2),
        "p99_ms": round(quantiles[98] * 1e3, 2),
        "resident_mb": round(memory[-1] / MB, 1),
        "growth_mb": round(growth_bytes(memory) / MB, 2),
        "by_tenth_mb": [round(part / MB, 1) for part in by_tenth(memory)],
    }


def growth_bytes(memory: Sequence[int]) -> float:
    """The median of the last tenth less the median of the tenth after the warm-up."""
    piece = max(1, int(len(memory) * TENTH))
    start = int(len(memory) * WARM_UP_SHARE)
    return statistics.median(memory[-piece:]) - statistics.median(memory[start : start + piece])


def by_tenth(memory: Sequence[int]) -> list[float]:
    """The median of each tenth: a leak rises to the end, a warm-up does not."""
    edges = [len(memory) * tenth // 10 for tenth in range(11)]
    parts = [memory[start : max(stop, start + 1)] for start, stop in pairwise(edges)]
    return [statistics.median(part) for part in parts if part]


async def load(
    port: int, mix: Sequence[Request], tally: Tally, *, until: float, rate: float | None = None
) -> None:
    """Clients that ask as fast as they are answered, or `rate` times a second together."""
    start, numbers = time.monotonic(), count()

    async def client() -> None:
        while time.monotonic() < until:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while (number := next(numbers)) >= 0:
                    if rate is not None:
                        await asyncio.sleep(start + number / rate - time.monotonic())
                    if time.monotonic() >= until:
                        return
                    if not await ask(reader, writer, mix[number % len(mix)], tally):
                        break
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                tally.wrong[repr(error)] += 1
            finally:
                writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request, tally: Tally
) -> bool:
    """One request; whether the connection stays open."""
    sent_s = time.monotonic()
    writer.write(request.raw)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    status = int(head.split(b" ", 2)[1])
    tally.answered += 1
    tally.latencies_s.append(time.monotonic() - sent_s)
    if status != request.status:
        tally.wrong[f"{status} {body[:200]!r}"] += 1
    return b"connection: close" not in head


def make_mix() -> list[Request]:
    """Mostly single images to encode, and some of everything else, bad requests included."""
    pictures = [shape(seed) for seed in range(64)]
    files = [as_png(picture) for picture in pictures]
    encodes = [post("/encode", PNG, data) for data in files]
    texts = [base64.b64encode(data).decode() for data in files[:2]]
    others = [
        post("/encode", NPY, as_npy(np.stack(pictures[:8]))),
        post("/factors", PNG, files[0]),
        post("/traverse?steps=5", PNG, files[1]),
        post("/decode", JSON, b'{"latents": [[0, 0.5, 1, -1]]}'),
        post("/interpolate?steps=5", JSON, json.dumps({"images": texts}).encode()),
        post(INFER, "application/octet-stream", pictures[0].tobytes(), length=0),
        post("/encode", PNG, files[0][:60], status=400),
        post("/encode?dims=99", PNG, files[0], status=404),
    ]
    mixed: list[Request] = []
    for number, request in enumerate(encodes):
        mixed.append(request)
        if number % 8 == 0:
            mixed.append(others[number // 8])
    return mixed


def post(
    path: str, media_type: str, body: bytes, *, status: int = 200, length: int | None = None
) -> Request:
    """A request as its bytes; `length`: of the JSON before the tensors."""
    head = f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Type: {media_type}\r\n"
    if length is not None:
        head += f"Inference-Header-Content-Length: {length}\r\n"
    return Request(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, status)


def shape(seed: int) -> np.ndarray:
    """A disc somewhere, uint8 (64, 64)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    center, radius = rng.uniform(16, 48, 2), rng.uniform(4, 14)
    inside = (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2
    return (inside * 255).astype(np.uint8)


async def watch(pid: int, memory: list[int]) -> None:
    """Adds the resident memory every second."""
    while True:
        await asyncio.sleep(SAMPLE_EVERY_S)
        memory.append(resident_bytes(pid))


@contextmanager
def sleepers(n: int) -> Iterator[list[int]]:
    """Processes that do no more than wake twice a second: what a machine charges for that alone.

    On some virtual machines that is half a percent of a core for each.
    """
    command = [sys.executable, "-c", "import time\nwhile True: time.sleep(0.5)"]
    started = [subprocess.Popen(command) for _ in range(n)]
    try:
        time.sleep(1)  # until they are up
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def idle_cpu_percent(
    groups: Sequence[Sequence[int]],
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Processor time of groups of processes while nobody asks anything, percent of one core."""
    before, start = [processor_s_of(group) for group in groups], time.monotonic()
    sleep(seconds)
    used = [processor_s_of(group) - first for group, first in zip(groups, before, strict=True)]
    return [100 * one / (time.monotonic() - start) for one in used]


if __name__ == "__main__":
    main()
