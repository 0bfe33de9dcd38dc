"""The load that is sent is what its name says, and the report is medians that end in JSON."""

import importlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("serving")


def test_bodies_hold_as_many_images_as_the_load_says(serving: ModuleType) -> None:
    images = np.load(io.BytesIO(serving.make_body("application/x-npy", 64)))
    assert (images.shape, images.dtype) == ((64, 64, 64), np.uint8)
    assert serving.make_body("image/png", 1).startswith(b"\x89PNG")


def test_systems_stand_still_while_another_is_measured(serving: ModuleType) -> None:
    process = importlib.import_module("systems.process")
    usage = importlib.import_module("usage")
    busy = ["bash", "-c", "(while :; do :; done) & while :; do :; done"]
    dialect = process.Dialect(lambda body: None, lambda answer: ([], []))
    idle, tested = (process.System(name, busy, 0, dialect) for name in ("idle", "tested"))

    def states(system: Any) -> set[str]:
        return {usage.stat_of(pid)[0] for pid in system._processes()}

    try:
        with serving.alone(tested, [idle, tested]):
            _wait(lambda: states(idle) == {"T"})
            used_s = idle.cpu_s()
            assert "T" not in states(tested)
            assert idle.cpu_s() == used_s
        _wait(lambda: states(idle) == {"R"})
    finally:
        idle.stop()
        tested.stop()


def _wait(until: Callable[[], bool]) -> None:
    for _ in range(1000):
        if until():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


def _round(ours: float, plain: float) -> dict[str, dict[str, dict[str, float]]]:
    facts = {"p50_ms": 1.0, "p99_ms": 2.0, "errors": 0, "cpu_ms": 0.5}
    systems = {"ours": {"rps": ours, **facts}, "plain": {"rps": plain, **facts}}
    bare = {"ours": {"rps": ours, **facts}, "bare": {"rps": 2 * ours}}
    png = {f"png_{n}": systems for n in (1, 8, 32, 64)}
    return {**png, "npy64_4": bare, "traverse_1": {"ours": {"rps": ours, **facts}}}


def test_report_takes_medians_and_ratios_within_a_round(serving: ModuleType) -> None:
    reported = serving.report([_round(90.0, 45.0), _round(300.0, 100.0), _round(100.0, 10.0)])

    assert reported["systems"]["ours"]["png_8"]["rps"] == 100.0
    assert reported["ratios"]["ours/plain"]["png_8"] == 3.0
    assert reported["ratios"]["ours/bare"]["npy64_4"] == 0.5


def test_table_stands_between_its_marks_and_says_what_was_measured(
    serving: ModuleType, tmp_path: Path
) -> None:
    table = importlib.import_module("serving_table")
    result = {
        "machine": "a machine, 2 cores",
        **{"date": "2026-01-02", "rounds": 1, "seconds": 2, "load_average": [0.1, 0.2]},
        **{"versions": {"python": "3.11.2"}, "memory_mib": {"ours": 137.4, "plain": 180.0}},
        "idle_cpu_percent": {"ours": 0.3},
        **serving.report([_round(3000.0, 1500.0)]),
    }
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")

    table.write_table(result, readme)

    text = readme.read_text()
    assert "| this service | 3,000 (1.0 / 2.0) |" in text
    assert "| 0.50 | 137 |" in text
    assert "a machine, 2 cores; Python 3.11.2; wrk" in text
    assert "2.00 / 2.00 / 2.00 / 2.00 times plain FastAPI" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text


def test_table_needs_its_marks(serving: ModuleType, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing")

    with pytest.raises(SystemExit, match="must hold the marks"):
        importlib.import_module("serving_table").write_table({}, readme)


def test_triton_answer_is_read_behind_its_json(serving: ModuleType) -> None:
    start = importlib.import_module("systems.start")
    mu = np.arange(10, dtype=np.float32)
    outputs = [
        {"name": "logvar", "parameters": {"binary_data_size": 40}},
        {"name": "mu", "parameters": {"binary_data_size": 40}},
    ]
    head = json.dumps({"outputs": outputs}).encode()

    dims, read = start.read_oip(head + bytes(40) + mu.tobytes())

    assert (dims, read) == (list(range(10)), mu.tolist())
