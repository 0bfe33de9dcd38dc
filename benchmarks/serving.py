"""Our service against plain FastAPI, a bare onnxruntime loop and others: one encoder, in turns.

    .venv/bin/python benchmarks/serving.py [--rounds 3] [--seconds 2] [--save]
    .venv/bin/python benchmarks/serving.py --with litserve triton --save

Real HTTP over loopback from wrk (closed loop, one thread, on the same cores), one system at a time;
those that poll while they are idle stand still meanwhile. Debian's package of wrk is unpacked into
.make/wrk where it is not installed; LitServe and Triton are installed into environments of their
own in the user's cache. Every system answers for the same picture first, and must agree. Prints
medians over rounds; the last line is JSON, which `--save` keeps in benchmarks/results/serving.json,
from where it writes the table of service/README.md.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import wrk
from served import as_npy, as_png
from serving_table import write_table
from systems.environments import PACKAGES
from systems.process import ENCODER, MODEL, System
from systems.start import STARTS

from service.runtime.sessions import open_session

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks/results/serving.json"
PNG, NPY = "image/png", "application/x-npy"
IDLE_S = 3.0
MOST_IDLE_PERCENT = 1.0  # who uses more stands still while others are measured
WARM_UP_S = 1.0  # before a load is timed, as the system has idled while the others were asked
# name: path, content type, clients, images a request
LOADS = {
    **{f"png_{n}": ("/encode", PNG, n, 1) for n in (1, 8, 32, 64)},
    **{f"npy_{n}": ("/encode", NPY, n, 1) for n in (1, 8, 32, 64)},
    "npy64_4": ("/encode", NPY, 4, 64),
    "traverse_1": ("/traverse?dims=all&steps=11", PNG, 1, 1),
}
Figures = dict[str, float]
Round = dict[str, dict[str, Figures]]


def main() -> None:
    """Measure and print."""
    options = _parse()
    load_average = [os.getloadavg()[0]]
    systems: list[System] = []
    try:
        for name in ("ours", "plain", *options.others):
            systems.append(STARTS[name]())
        require_agreement(systems)
        idle = idle_percent(systems)
        restless = [one for one in systems if idle[one.name] > MOST_IDLE_PERCENT]
        rounds = [measure(systems, options, restless) for _ in range(options.rounds)]
        memory = {system.name: round(system.memory_mib(), 1) for system in systems}
    finally:
        for system in systems:
            system.stop()
    load_average.append(os.getloadavg()[0])
    result = {
        "machine": f"{machine()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "load_average": [round(value, 2) for value in load_average],
        "versions": versions(options.others),
        "memory_mib": memory,
        "idle_cpu_percent": idle,
        "note": options.note,
        **report(rounds),
    }
    print(json.dumps(result))
    if options.save:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        write_table(result)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of one load in one round")
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=LOADS)
    parser.add_argument(
        "--with", dest="others", nargs="+", default=[], choices=PACKAGES, help="further systems"
    )
    parser.add_argument("--note", default="", help="kept with the result: how it was run")
    parser.add_argument("--save", action="store_true", help="keep the result and write the table")
    return parser.parse_args()


def require_agreement(systems: list[System]) -> None:
    """Ends the run unless each system gives the golden mu of the same picture."""
    golden = np.load(MODEL / "golden.npz")
    for system in systems:
        dims, mu = system.ask(as_png(golden["image"][0, 0]))
        error = float(np.abs(golden["mu"][0, dims] - mu).max())
        if error > 1e-4:
            sys.exit(f"{system.name} differs from the golden mu by {error:.3g}")


def idle_percent(systems: list[System]) -> Figures:
    """Processor time of each system while nobody asks it, percent of a core."""
    before = {system.name: system.cpu_s() for system in systems}
    time.sleep(IDLE_S)
    return {s.name: round((s.cpu_s() - before[s.name]) / IDLE_S * 100, 2) for s in systems}


def measure(systems: list[System], options: argparse.Namespace, restless: list[System]) -> Round:
    """One round: by load, by system; the systems take turns within each load."""
    figures: Round = {}
    for load in options.loads:
        _, kind, _, images = LOADS[load]
        figures[load] = {}
        for system in systems:
            if system.name == "ours" or load.startswith("png"):
                with alone(system, restless):
                    figures[load][system.name] = run_load(system, load, options.seconds)
        if kind == NPY and images > 1:
            with alone(None, restless):
                figures[load]["bare"] = {"rps": bare_images_s(options.seconds) / images}
    return figures


@contextmanager
def alone(system: System | None, restless: list[System]) -> Iterator[None]:
    """The restless others stand still: they would take part of a core, and others wait in peace."""
    with ExitStack() as stack:
        for other in restless:
            if other is not system:
                stack.enter_context(other.paused())
        yield


def run_load(system: System, load: str, seconds: float) -> Figures:
    """What wrk saw of one load, and the processor time that the system used."""
    path, kind, clients, images = LOADS[load]
    request = wrk.Request(path, make_body(kind, images), {"Content-Type": kind})
    if system.name != "ours":
        request = system.dialect.request(request.body)
    wrk.run(system.port, request, clients=clients, seconds=WARM_UP_S)
    before_s = system.cpu_s()
    seen = wrk.run(system.port, request, clients=clients, seconds=seconds)
    cpu_s = system.cpu_s() - before_s
    return {
        "rps": seen["requests"] / seen["us"] * 1e6,
        "p50_ms": seen["p50"],
        "p99_ms": seen["p99"],
        "errors": seen["errors"],
        "cpu_ms": cpu_s / max(1, seen["requests"]) * 1e3,
    }


def make_body(kind: str, images: int) -> bytes:
    """A PNG, or so many images in one array."""
    pixels = pictures(images)
    return as_npy(pixels) if kind == NPY else as_png(pixels[0])


def pictures(n: int) -> np.ndarray:
    """The golden images again and again: uint8 (n, 64, 64)."""
    return np.resize(np.load(MODEL / "golden.npz")["image"], (n, 64, 64))


def bare_images_s(seconds: float) -> float:
    """Images/s of single-thread lanes, as many as cores, at the best of three batch sizes.

    The size is chosen first and timed anew: the best of three timings would be the luckiest one.
    """
    session = open_session(ENCODER, threads=1)
    lanes = len(os.sched_getaffinity(0))
    trials = {size: _bare(session, size, lanes, seconds / 3) for size in (8, 16, 32)}
    best = max(trials, key=lambda size: trials[size])
    return _bare(session, best, lanes, seconds)


def _bare(session: Any, batch: int, lanes: int, seconds: float) -> float:
    images = pictures(batch)[:, None]  # (batch, 1, 64, 64)
    end = time.perf_counter() + seconds
    counts = [0] * lanes

    def lane(number: int) -> None:
        while time.perf_counter() < end:
            session.run(None, {"image": images})
            counts[number] += batch

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(lanes)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def machine() -> str:
    """The processor's name, where the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(others: list[str]) -> dict[str, str]:
    """Of what was compared."""
    ours = {name: version(name) for name in ("rfvae", "fastapi", "uvicorn", "onnxruntime")}
    ours["python"] = platform.python_version()
    return ours | dict(PACKAGES[name].split("==") for name in others)


def report(rounds: list[Round]) -> dict[str, dict[str, Any]]:
    """Medians over rounds as a table; returns them by system and load, and ratios to ours."""
    print("load        system        rps    p50 ms    p99 ms  errors  cpu ms")
    figures: dict[str, dict[str, Any]] = {}
    ratios: dict[str, dict[str, float]] = {}
    for load, systems in rounds[0].items():
        for name, first in systems.items():
            one = {key: _median(rounds, load, name, key) for key in first}
            figures.setdefault(name, {})[load] = one
            rest = [f"{one.get(k, 0):9.2f}" for k in ("p50_ms", "p99_ms", "errors", "cpu_ms")]
            print(f"{load:11} {name:9} {one['rps']:8.0f} {' '.join(rest)}")
            if name != "ours":
                each = [r[load]["ours"]["rps"] / r[load][name]["rps"] for r in rounds]
                ratios.setdefault(f"ours/{name}", {})[load] = round(statistics.median(each), 2)
    print("\n".join(f"{pair}  {one}" for pair, one in ratios.items()))
    return {"ratios": ratios, "systems": figures}


def _median(rounds: list[Round], load: str, name: str, key: str) -> float:
    return round(statistics.median(r[load][name][key] for r in rounds), 3)


if __name__ == "__main__":
    main()
