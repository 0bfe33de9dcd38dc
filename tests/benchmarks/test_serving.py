"""The load that is sent is what its name says, and the report is medians that end in JSON."""

import importlib
import io
import json
from pathlib import Path
from types import ModuleType

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


def test_report_takes_medians_and_ends_with_one_json_object(
    serving: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def seen(rps: float) -> dict[str, dict[str, dict[str, float]]]:
        facts = {"p50_ms": 1.0, "p99_ms": 2.0, "errors": 0, "cpu_ms": 0.5}
        return {"png_8": {"ours": {"rps": rps, **facts}}}

    serving.report([seen(90.0), seen(300.0), seen(100.0)])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["ours"]["png_8"]["rps"] == 100.0
