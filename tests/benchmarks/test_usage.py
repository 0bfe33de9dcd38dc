"""What the system says of processes, whatever else the machine runs."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = "import numpy, sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def usage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the benchmarks."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("usage")


@contextmanager
def _waiting() -> Iterator[int]:
    """A process that has loaded libraries and waits."""
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_resident_memory_does_not_depend_on_who_else_has_the_same_libraries(
    usage: ModuleType,
) -> None:
    with ExitStack() as others, _waiting() as pid:
        alone = usage.resident_bytes_of([pid])
        for _ in range(3):
            others.enter_context(_waiting())
        assert usage.resident_bytes_of([pid]) == pytest.approx(alone, abs=2e6)
    assert alone > 10e6


def test_resident_memory_of_several_counts_their_libraries_once(usage: ModuleType) -> None:
    with _waiting() as first, _waiting() as second:
        one, both = usage.resident_bytes_of([first]), usage.resident_bytes_of([first, second])

    assert one < both < 1.9 * one


def test_a_process_that_has_ended_uses_nothing(usage: ModuleType) -> None:
    with _waiting() as pid:
        pass

    assert usage.resident_bytes_of([pid]) == 0
    assert usage.processor_s_of([pid]) == 0
