"""The benchmark compares like with like: both sides lose the same, and its last line is JSON."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def training_step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; what it imports from its own folder is found too."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("training_step")


def test_both_sides_have_the_same_losses(training_step: ModuleType) -> None:
    torch.set_num_threads(1)
    assert training_step.max_loss_difference(3, precision="float32") < 1e-5
    assert training_step.max_loss_difference(3, precision="auto") < 1e-4


def test_report_ends_with_one_json_object(
    training_step: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    arm = {"images_s": 100.0, "images_cpu_s": 50.0, "peak_mib": 300.0, "threads": 2}
    rounds = [
        {
            "authors": arm,
            "ours": arm | {"images_s": speed},
            "ours_float32": arm | {"images_s": speed - 10},
        }
        for speed in (190.0, 210.0, 200.0)
    ]
    logging = {
        "log_line_ms": 5.0,
        "log_share": 0.0004,
        "checkpoint_ms": 300.0,
        "checkpoint_share": 0.001,
    }
    training_step.report(rounds, differences={"auto": 2e-5, "float32": 1e-6}, logging=logging)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["ratio"], figures["float32_ratio"]) == (2.0, 1.9)
    assert (figures["ours_images_s"], figures["authors_images_s"]) == (200.0, 100.0)
    assert (figures["log_share"], figures["checkpoint_share"]) == (0.0004, 0.001)


def test_logging_cost_is_measured_on_our_step(training_step: ModuleType) -> None:
    torch.set_num_threads(1)
    cost = importlib.import_module("logging_cost").logging_cost(3)
    assert sorted(cost) == ["checkpoint_ms", "checkpoint_share", "log_line_ms", "log_share"]
    assert cost["checkpoint_ms"] > 0
    assert cost["log_share"] < 1


def test_peak_memory_is_that_of_the_process_alone(training_step: ModuleType) -> None:
    held = torch.ones(2**27)  # 512 MiB
    code = "import training_step; print(training_step.peak_mib())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True
    )
    assert training_step.peak_mib() > 512
    assert 1 < float(done.stdout) < 256
    assert held[0] == 1
