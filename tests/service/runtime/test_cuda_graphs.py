"""Captured graphs, with sessions that stand in for a GPU's: checked before they are believed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import DeviceUnavailable
from service.models.artifact import load_golden, load_manifest
from service.runtime.bound import BoundGraph
from service.runtime.cuda_graphs import CapturedGraph
from service.runtime.graph_spec import GraphSpec, graph_specs
from service.runtime.sessions import open_session
from tests.service.tiny_model import write_tiny_model

Open = Callable[[], Any]


class StaleSession:
    """Replays its first run whatever the input is, as a capture of the wrong addresses does."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._runs = 0

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        self._runs += 1
        if self._runs == 1:
            self._session.run_with_iobinding(binding)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path)


@pytest.fixture
def spec(folder: Path) -> GraphSpec:
    return graph_specs(load_manifest(folder))[0]


@pytest.fixture
def open_encoder(folder: Path) -> Open:
    return lambda: open_session(folder / "encoder.onnx")


def _capture(open_encoder: Open, spec: GraphSpec, again: Open, **sizes: Any) -> CapturedGraph:
    plain = BoundGraph(open_encoder(), spec, memory="cpu").run
    return CapturedGraph.capture(plain, again, spec, **{"sizes": (1, 4), **sizes}, memory="cpu")


def test_captured_graph_has_a_session_for_each_size_and_one_thread(
    open_encoder: Open, spec: GraphSpec, folder: Path
) -> None:
    opened_in: list[str] = []

    def again() -> Any:
        opened_in.append(threading.current_thread().name)
        return open_encoder()

    graph = _capture(open_encoder, spec, again, sizes=(1, 2, 4))
    assert len(opened_in) == 3
    assert set(opened_in) == {"rfvae-graph_0"}
    graph.close()


def test_captured_graph_passes_its_check_and_gives_each_thread_its_rows(
    open_encoder: Open, spec: GraphSpec, folder: Path
) -> None:
    graph = _capture(open_encoder, spec, open_encoder)
    golden = load_golden(folder)
    graph.self_check(golden.image)
    orders = [np.roll(golden.image, shift, axis=0) for shift in range(40)]
    with ThreadPoolExecutor(4) as threads:
        for shift, (mu, _) in enumerate(threads.map(graph.run, orders)):
            assert mu == pytest.approx(np.roll(golden.mu, shift, axis=0), abs=1e-4)
    graph.close()


def test_a_graph_that_replays_stale_outputs_is_refused(
    open_encoder: Open, spec: GraphSpec, folder: Path
) -> None:
    graph = _capture(open_encoder, spec, lambda: StaleSession(open_encoder()))
    message = (
        r"a CUDA graph must give what a plain run gives: for 1 rows through `encoder.onnx`, `mu` "
        r"differs by \d.*; unset RFVAE_CUDA_GRAPHS"
    )
    with pytest.raises(DeviceUnavailable, match=message):
        graph.self_check(load_golden(folder).image)
    graph.close()


def test_a_graph_that_cannot_be_captured_is_refused_in_one_line(
    open_encoder: Open, spec: GraphSpec
) -> None:
    def again() -> Any:
        raise RuntimeError("all nodes must be on CUDA:\n If is not")

    message = "`encoder.onnx` cannot be captured as a CUDA graph: all nodes must be on CUDA: If is"
    with pytest.raises(DeviceUnavailable, match=message) as caught:
        _capture(open_encoder, spec, again)
    assert "\n" not in caught.value.detail
    assert "unset RFVAE_CUDA_GRAPHS" in caught.value.detail


def test_closed_graph_runs_no_more(open_encoder: Open, spec: GraphSpec) -> None:
    graph = _capture(open_encoder, spec, open_encoder)
    graph.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        graph.run(np.zeros((1, 1, 16, 16), np.uint8))
