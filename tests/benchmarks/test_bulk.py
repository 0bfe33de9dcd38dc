"""The benchmark of bulk runs: ratios within a round, and a last line that is JSON."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bulk(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("bulk")


def test_arms_take_turns_at_the_start_of_a_round(bulk: ModuleType) -> None:
    order: list[str] = []
    arms = {name: (lambda name=name: order.append(name)) for name in ("a", "b", "c")}

    times = bulk.measure(arms, rounds=2)

    assert order == [*"abc", *"abc", *"bca"]  # warm-up, then two rounds
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2, "c": 2}


def test_report_ends_with_ratios_of_the_same_round(
    bulk: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = [(1.0, 2.0), (2.0, 2.0), (10.0, 2.0)]  # the machine slows down from round to round
    slower = [(wall * 1.25, processor * 2) for wall, processor in bare]

    bulk.report({"npy": slower, "bare": bare}, 100)

    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["npy_ratio"], figures["npy_cpu_ratio"]) == (0.8, 0.5)
    assert figures["bare_images_s"] == 50
