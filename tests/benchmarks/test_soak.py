"""The soak: what it measures is what it says, and the service passes it."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_GROWTH_MB, MOST_IDLE_PERCENT = 5.0, 1.0


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("soak")


def _run(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "benchmarks/soak.py", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["errors"] == 0, done.stdout
    return figures


def test_growth_leaves_the_warm_up_out_and_peaks_aside(soak: ModuleType) -> None:
    warm_up, steady = [10, 50, 90, 100, 100] * 4, [100] * 80
    steady[79] = steady[40] = 500

    assert soak.growth_bytes(warm_up + steady) == 0
    assert soak.growth_bytes([1000 + 10 * second for second in range(100)]) == 700


def test_growth_of_a_short_run_is_that_of_its_ends(soak: ModuleType) -> None:
    assert soak.growth_bytes([5, 9]) == 4


def test_memory_is_shown_by_tenth(soak: ModuleType) -> None:
    assert soak.by_tenth(range(100)) == [4.5 + 10 * tenth for tenth in range(10)]
    assert soak.by_tenth([7]) == [7] * 10


def test_idle_cpu_counts_user_and_system_time_of_each_group(soak: ModuleType) -> None:
    def busy(_: float) -> None:
        end = soak.processor_s_of([os.getpid()]) + 0.2
        while soak.processor_s_of([os.getpid()]) < end:
            pass

    with soak.sleepers(2) as asleep:
        assert len(asleep) == 2
        own, floor = soak.idle_cpu_percent([[os.getpid()], asleep], 0, sleep=busy)

    assert own > 5
    assert floor < own


def test_mix_holds_every_kind_of_request(soak: ModuleType) -> None:
    mix = soak.make_mix()

    lines = [request.raw.split(b"\r\n")[0].split()[1].partition(b"?")[0] for request in mix]
    assert {b"/encode", b"/factors", b"/traverse", b"/decode", b"/interpolate"} < set(lines)
    assert soak.INFER.encode() in lines
    assert sorted({request.status for request in mix}) == [200, 400, 404]
    assert lines.count(b"/encode") > len(mix) * 0.8


def test_soak_of_a_second_gets_the_answers_it_wants() -> None:
    figures = _run("--seconds", "1", "--capacity-seconds", "1", "--idle-seconds", "0.1")

    assert figures["rps"] > 0
    assert 20 < figures["resident_mb"] < 1000


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_service_keeps_its_memory_and_makes_no_error_in_a_long_run() -> None:
    figures = _run()

    assert figures["growth_mb"] < MOST_GROWTH_MB
    own_percent = figures["idle_cpu_percent"] - figures["sleepers_cpu_percent"]
    assert own_percent < MOST_IDLE_PERCENT
