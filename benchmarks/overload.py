"""What the service does at ten times what it can do: deadlines, refusals, memory.

    .venv/bin/python benchmarks/overload.py [--seconds 60] [--factor 10] [--rows 64]

Measures the capacity with a closed loop, then offers FACTOR times as much in an open loop, each
request at its own time and on a connection of its own choosing, whatever happened to those before.
Requests are by turns ROWS images to encode and ROWS latents to decode, as npy: much to do and
little to send, so that a client in Python on the same cores can offer enough.
Prints a table; the last line is JSON. Exits 1 when a claim does not hold or the service does not
end well. Times say little where other programs keep the event loop from a core, for
`loop_starved_percent` of the time.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
import uvloop
from served import as_npy, machine, processes_of, resident_bytes, serve

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "service/bundled/oval-dsprites/1"
GOLDEN, MANIFEST = MODEL / "golden.npz", MODEL / "manifest.json"
CAPACITY_CLIENTS = 8
WARM_UP_S = 5.0  # of the overload, before memory counts: pools and buffers fill once
MOST_OPEN = 2000  # connections of the generator
MIB = 2**20


@dataclass
class Seen:
    """What came back, by status; times in seconds from the moment a request was begun.

    How much later than due that was is the generator's own lag: on fast cores the service refuses
    more than a client in Python can send.
    """

    times_s: dict[int, list[float]] = field(default_factory=dict)
    lags_s: list[float] = field(default_factory=list)  # of the generator itself
    failures: Counter[str] = field(default_factory=Counter)
    without_hint: int = 0

    def add(self, status: int, seconds: float) -> None:
        self.times_s.setdefault(status, []).append(seconds)

    def count(self, status: int) -> int:
        return len(self.times_s.get(status, ()))

    def percentile_ms(self, status: int, percent: float) -> float:
        return _percentile_ms(self.times_s.get(status, []), percent)


def _percentile_ms(times_s: list[float], percent: float) -> float:
    return float(np.percentile(times_s, percent)) * 1e3 if times_s else 0.0


class Generator:
    """Sends some requests by turns, again and again; connections are kept and shared."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._port = port
        self._requests = cycle(requests)
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self.seen = Seen()

    async def ask(self, due_s: float) -> None:
        """One request that was due at `due_s`."""
        begun_s = time.monotonic()
        self.seen.lags_s.append(begun_s - due_s)
        try:
            reader, writer = await self._connection()
            status, closes = await self._exchange(reader, writer)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.seen.failures[type(error).__name__] += 1
            return
        self.seen.add(status, time.monotonic() - begun_s)
        if closes:
            writer.close()
        else:
            self._free.append((reader, writer))

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bool]:
        writer.write(next(self._requests))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        status = int(head[9:12])
        self.seen.without_hint += status == 429 and b"retry-after: " not in head
        return status, b"connection: close" in head

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


def main() -> None:
    """Measure, print, judge."""
    options = _parse()
    with (
        serve(RFVAE_REQUEST_TIMEOUT_MS=str(options.deadline_ms)) as (pid, port),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(measure(port, pid, options))
    report(figures)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of overload")
    parser.add_argument("--factor", type=float, default=10, help="times the capacity")
    parser.add_argument("--rows", type=int, default=64, help="images or latents a request")
    parser.add_argument("--deadline-ms", type=int, default=10_000, help="of each request")
    return parser.parse_args()


async def measure(port: int, pid: int, options: argparse.Namespace) -> dict[str, object]:
    """The capacity, the overload, and the memory before, during and after."""
    requests = make_requests(options.rows)
    idle_mib = resident_bytes(pid) / MIB
    capacity = await measure_capacity(port, requests, min(options.seconds, 5))
    rate = capacity * options.factor
    memory: list[tuple[float, float]] = []
    watching = asyncio.create_task(_watch(pid, memory))
    generator = Generator(port, requests)
    waited_s, start_s = waited_for_cpu_s(pid), time.monotonic()
    offered = await overload(generator, rate=rate, seconds=options.seconds)
    waited_s = waited_for_cpu_s(pid) - waited_s
    starved = waited_s / (time.monotonic() - start_s)
    watching.cancel()
    seen = generator.seen
    generator.close()
    warm = [mib for at_s, mib in memory if at_s >= min(WARM_UP_S, options.seconds / 2)]
    half = len(warm) // 2
    return {
        "machine": machine(),
        "rows": options.rows,
        "deadline_ms": options.deadline_ms,
        "seconds": options.seconds,
        "capacity_rps": round(capacity, 1),
        "offered_rps": round(offered, 1),
        "offered_to_capacity": round(offered / max(capacity, 1e-9), 2),
        "loop_starved_percent": round(100 * starved, 1),
        "generator_lag_ms": {f"p{p}": round(_percentile_ms(seen.lags_s, p), 1) for p in (50, 99)},
        "statuses": {str(status): len(times) for status, times in sorted(seen.times_s.items())},
        "failures": dict(seen.failures),
        "answered_rps": round(seen.count(200) / options.seconds, 1),
        "accepted_ms": {f"p{p}": round(seen.percentile_ms(200, p), 1) for p in (50, 99, 100)},
        "refused_ms": {f"p{p}": round(seen.percentile_ms(429, p), 1) for p in (50, 99, 100)},
        "refused_without_retry_after": seen.without_hint,
        "memory_mib": {
            "idle": round(idle_mib, 1),
            "first_half": round(max(warm[:half], default=0.0), 1),
            "second_half": round(max(warm[half:], default=0.0), 1),
        },
    }


def make_requests(rows: int) -> list[bytes]:
    """So many images to encode, and so many latents of the relevant dimensions to decode."""
    images = np.resize(np.load(GOLDEN)["image"][:, 0], (rows, 64, 64))
    n_relevant = len(json.loads(MANIFEST.read_text())["relevant_dims"])
    latents = np.random.default_rng(0).standard_normal((rows, n_relevant)).astype(np.float32)
    return [_post("/encode", as_npy(images)), _post("/decode", as_npy(latents))]


def _post(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-npy\r\n"
        f"Accept: application/x-npy\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def measure_capacity(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """Answers a second to a few clients that each wait for their answers."""
    generator = Generator(port, requests)
    end_s = time.monotonic() + seconds

    async def client() -> None:
        while (now_s := time.monotonic()) < end_s:
            await generator.ask(now_s)

    await asyncio.gather(*(client() for _ in range(CAPACITY_CLIENTS)))
    generator.close()
    return generator.seen.count(200) / seconds


async def overload(generator: Generator, *, rate: float, seconds: float) -> float:
    """Starts requests at a fixed rate, and returns the rate that the generator reached."""
    start_s = time.monotonic()
    under_way: set[asyncio.Task[None]] = set()
    n_started = 0
    while (elapsed_s := time.monotonic() - start_s) < seconds:
        while n_started < elapsed_s * rate and len(under_way) < MOST_OPEN:
            task = asyncio.create_task(generator.ask(start_s + n_started / rate))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            n_started += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*under_way)
    return n_started / seconds


async def _watch(pid: int, memory: list[tuple[float, float]]) -> None:
    start_s = time.monotonic()
    while True:
        memory.append((time.monotonic() - start_s, resident_bytes(pid) / MIB))
        await asyncio.sleep(0.25)


def waited_for_cpu_s(pid: int) -> float:
    """How long the thread of an event loop was ready and had no core so far, of all on average."""
    loops = [Path(f"/proc/{one}/task/{one}/schedstat") for one in processes_of(pid)]
    return sum(int(loop.read_text().split()[1]) for loop in loops) / len(loops) / 1e9


def report(figures: dict[str, object]) -> None:
    """A line a figure, then JSON; exits 1 when a claim does not hold."""
    claims = judge(figures)
    for name, value in figures.items():
        print(f"{name:28} {value}")
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'FAILS':28} {claim}")
    print(json.dumps({**figures, "claims": claims}))
    sys.exit(0 if all(claims.values()) else 1)


def judge(figures: dict[str, object]) -> dict[str, bool]:
    """What the service promises under overload."""
    statuses, memory = figures["statuses"], figures["memory_mib"]
    accepted, refused = figures["accepted_ms"], figures["refused_ms"]
    assert isinstance(statuses, dict)
    assert isinstance(memory, dict)
    assert isinstance(accepted, dict)
    assert isinstance(refused, dict)
    return {
        "every answer is 200 or 429, and none is missing": (
            set(statuses) <= {"200", "429"} and not figures["failures"]
        ),
        "accepted requests keep their deadline": accepted["p100"] <= figures["deadline_ms"],
        "a refusal comes in a fourth of the deadline": refused["p99"] * 4 <= figures["deadline_ms"],
        "every refusal says when to come back": figures["refused_without_retry_after"] == 0,
        "memory is flat (5 MiB)": memory["second_half"] - memory["first_half"] <= 5,
    }


if __name__ == "__main__":
    main()
