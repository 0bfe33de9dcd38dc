"""What each device gets: plain runs, bound buffers in fixed sizes, captured graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ArtifactError, DeviceUnavailable
from service.models.artifact import load_golden, load_manifest
from service.models.repository import scan
from service.runtime import bound, opening
from service.runtime.cuda_graphs import CapturedGraph
from service.runtime.engine import Engine
from service.runtime.graph_spec import GraphSpec
from service.runtime.graphs import Outputs, Run, Samples, plain_run
from service.runtime.opening import EngineOptions
from service.runtime.sessions import CPU, CUDA
from tests.service.tiny_model import TinyWeights, write_tiny_model
from tests.service.tiny_rows import write_tiny_rows

Asked = list[dict[str, Any]]


class OnCuda:
    """A session of the CPU that says that it runs on CUDA, and counts its runs."""

    def __init__(self, session: Any, runs: list[str]) -> None:
        self._session = session
        self._runs = runs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def run(self, *args: Any) -> Any:
        self._runs.append("plain")
        return self._session.run(*args)

    def run_with_iobinding(self, binding: Any) -> None:
        self._runs.append("bound")
        self._session.run_with_iobinding(binding)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path)


@pytest.fixture
def runs() -> list[str]:
    return []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, runs: list[str]) -> Asked:
    """Sessions "on a GPU" that run on the CPU, with buffers in its memory; what was asked for."""
    asked: Asked = []
    open_real = opening.open_session

    def open_fake(model: Path, *, device: str, threads: int, **more: Any) -> OnCuda:
        asked.append({"device": device, **more})
        return OnCuda(open_real(model, device="cpu", threads=threads), runs)

    monkeypatch.setattr(opening, "open_session", open_fake)
    monkeypatch.setattr(opening, "GPU_MEMORY", "cpu")
    return asked


def _load(folder: Path, **options: Any) -> Engine:
    return Engine.load(
        folder, load_manifest(folder), EngineOptions(**{"device": "cuda", **options})
    )


def test_a_gpu_runs_on_bound_buffers_and_never_plain(
    folder: Path, asked: Asked, runs: list[str]
) -> None:
    engine = _load(folder, batch_sizes=(1, 2, 4))
    engine.self_test(load_golden(folder))
    assert engine.providers == [CUDA, CPU]
    assert engine.batch_sizes == (1, 2, 4)
    assert set(runs) == {"bound"}
    assert [request["cuda_graph"] for request in asked if "cuda_graph" in request] == []


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 11])
def test_a_gpu_gives_right_numbers_for_sizes_that_it_never_sees(
    folder: Path, asked: Asked, rows: int
) -> None:
    engine = _load(folder, batch_sizes=(1, 2, 4))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, 1, 16, 16), dtype=np.uint8)
    weights = TinyWeights((1, 16, 16), 4, 0)
    mu, logvar = engine.encode(images)
    right_mu, right_logvar = weights.encode(images)
    assert mu == pytest.approx(right_mu, abs=1e-4)
    assert logvar == pytest.approx(right_logvar, abs=1e-4)
    assert engine.decode(mu) == pytest.approx(weights.decode(mu), abs=1e-5)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows the sessions of a CPU are given."""
    seen: list[int] = []

    def note(session: Any, spec: GraphSpec) -> Run:
        run = plain_run(session, spec)

        def run_and_note(rows: Samples) -> Outputs:
            seen.append(len(rows))
            return run(rows)

        return run_and_note

    monkeypatch.setattr(opening, "plain_run", note)
    return seen


@pytest.mark.parametrize(
    ("size", "pieces"), [(16, [37]), (64, [16, 16, 5]), (100, [6, 1]), (260, [1, 1])]
)
def test_a_cpu_runs_images_so_many_at_a_time_as_have_the_pixels(
    tmp_path: Path, seen: list[int], size: int, pieces: list[int]
) -> None:
    engine = _load(write_tiny_model(tmp_path, size=size), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (sum(pieces), 1, size, size), dtype=np.uint8)
    mu, _ = engine.encode(images)
    decoded = engine.decode(mu)
    assert seen == pieces * 2
    weights = TinyWeights((1, size, size), 4, 0)
    assert mu == pytest.approx(weights.encode(images)[0], abs=1e-4)
    assert decoded == pytest.approx(weights.decode(mu), abs=1e-5)


def test_a_cpu_runs_rows_of_numbers_all_at_once(tmp_path: Path, seen: list[int]) -> None:
    (found,) = scan([write_tiny_rows(tmp_path)])
    engine = _load(found.folder, device="cpu")
    (n_columns,) = load_manifest(found.folder).sample.shape
    engine.encode(np.zeros((1000, n_columns), np.float32))
    assert seen == [1000]


def test_cuda_graphs_have_a_session_for_each_size(folder: Path, asked: Asked) -> None:
    engine = _load(folder, batch_sizes=(1, 4), cuda_graphs=True)
    engine.self_test(load_golden(folder))
    assert [request.get("cuda_graph", False) for request in asked] == [False, True, True] * 2
    engine.close()


def test_self_test_checks_cuda_graphs_of_both_parts(
    folder: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[int, ...]] = []

    def note(self: CapturedGraph, samples: np.ndarray) -> None:
        checked.append(samples.shape)

    monkeypatch.setattr(CapturedGraph, "self_check", note)
    engine = _load(folder, batch_sizes=(1, 4), cuda_graphs=True)
    engine.self_test(load_golden(folder))
    assert checked == [(4, 1, 16, 16), (4, 4)]
    engine.close()


@pytest.mark.parametrize("device", ["cpu", "tensorrt"])
def test_cuda_graphs_are_refused_on_another_device(folder: Path, asked: Asked, device: str) -> None:
    message = f"`cuda_graphs` needs `device` to be `cuda`; got `{device}`; unset RFVAE_CUDA_GRAPHS"
    with pytest.raises(DeviceUnavailable, match=message):
        _load(folder, device=device, cuda_graphs=True)


def test_tensorrt_builds_for_the_largest_batch_and_keeps_engines(
    folder: Path, asked: Asked, tmp_path: Path
) -> None:
    _load(folder, device="tensorrt", batch_sizes=(1, 64), cache_folder=tmp_path / "cache")
    profiles = [request["profile"] for request in asked]
    assert [profile.input_name for profile in profiles] == ["image", "z"]
    assert [profile.largest_batch for profile in profiles] == [64, 64]
    assert {request["cache_folder"] for request in asked} == {tmp_path / "cache"}


def test_a_device_on_which_nothing_runs_is_refused_in_one_line(
    folder: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: OnCuda, binding: Any) -> None:
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    monkeypatch.setattr(OnCuda, "run_with_iobinding", fail)
    message = (
        "self-test of model `tiny` version 1 on CUDAExecutionProvider: the golden samples must "
        "run; got no kernel image is available for execution on the device; choose another `device`"
    )
    with pytest.raises(ArtifactError, match=message):
        _load(folder).self_test(load_golden(folder))


def test_a_cpu_runs_plain_and_any_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Callable[..., Any]:
        pytest.fail("a CPU needs no buffers")

    monkeypatch.setattr(bound.Buffers, "__init__", fail)
    engine = _load(folder, device="cpu")
    assert engine.batch_sizes == ()
    assert len(engine.encode(np.zeros((7, 1, 16, 16), np.uint8))[0]) == 7
