"""Runs on bound buffers, here in the CPU's memory: same numbers, and each caller's own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.models.artifact import load_manifest
from service.runtime.bound import BoundGraph, Buffers
from service.runtime.graph_spec import GraphSpec, graph_specs
from service.runtime.graphs import plain_run
from service.runtime.sessions import open_session
from tests.service.tiny_model import write_tiny_model

SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("bound"))


def _open(folder: Path, part: int) -> tuple[Any, GraphSpec]:
    spec = graph_specs(load_manifest(folder))[part]
    return open_session(folder / spec.file_name), spec


def _images(seed: int, batch: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *SHAPE), dtype=np.uint8)


@pytest.mark.parametrize("part", [0, 1], ids=["encoder", "decoder"])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_bound_run_gives_the_bits_of_a_plain_run(folder: Path, part: int, batch: int) -> None:
    session, spec = _open(folder, part)
    rows = np.random.default_rng(0).integers(0, 200, (batch, *spec.input.row))
    rows = rows.astype(spec.input.dtype)
    bound = BoundGraph(session, spec, memory="cpu").run(rows)
    plain = plain_run(session, spec)(rows)
    assert len(bound) == len(plain) == len(spec.outputs)
    assert all(map(np.array_equal, bound, plain))


def test_bound_outputs_stay_as_they_are_when_the_buffers_are_used_again(folder: Path) -> None:
    session, spec = _open(folder, 0)
    graph = BoundGraph(session, spec, memory="cpu")
    first = graph.run(_images(1, 4))
    kept = [output.copy() for output in first]
    second = graph.run(_images(2, 4))
    assert all(map(np.array_equal, first, kept))
    assert not np.array_equal(first[0], second[0])


def test_bound_run_leaves_no_rows_of_a_batch_to_the_next(folder: Path) -> None:
    session, spec = _open(folder, 0)
    graph, plain = BoundGraph(session, spec, memory="cpu"), plain_run(session, spec)
    for seed, batch in enumerate((8, 2, 8, 1, 2, 8)):
        rows = _images(seed, batch)
        assert all(map(np.array_equal, graph.run(rows), plain(rows)))


def test_bound_run_takes_rows_that_are_not_contiguous(folder: Path) -> None:
    session, spec = _open(folder, 0)
    rows = _images(3, 8)[::-2]
    bound = BoundGraph(session, spec, memory="cpu").run(rows)
    assert np.array_equal(bound[0], plain_run(session, spec)(np.ascontiguousarray(rows))[0])


def test_bound_run_gives_each_thread_its_own_rows(folder: Path) -> None:
    session, spec = _open(folder, 0)
    graph, plain = BoundGraph(session, spec, memory="cpu"), plain_run(session, spec)
    batches = [_images(seed, (1, 2, 4)[seed % 3]) for seed in range(200)]
    right = [plain(rows) for rows in batches]
    with ThreadPoolExecutor(6) as threads:
        for expected, got in zip(right, threads.map(graph.run, batches), strict=True):
            assert all(map(np.array_equal, expected, got))


def test_bound_graph_makes_buffers_only_for_threads_at_the_same_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, spec = _open(folder, 0)
    together = threading.Barrier(2, timeout=10)
    made: list[int] = []
    make, run = Buffers.__init__, Buffers.run

    def note(self: Buffers, *args: Any, batch: int, **options: Any) -> None:
        made.append(batch)
        make(self, *args, batch=batch, **options)

    def meet(self: Buffers, rows: np.ndarray) -> Any:
        together.wait()
        return run(self, rows)

    monkeypatch.setattr(Buffers, "__init__", note)
    monkeypatch.setattr(Buffers, "run", meet)
    graph = BoundGraph(session, spec, memory="cpu")
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            list(threads.map(graph.run, [_images(0, 4), _images(1, 4)]))
    assert made == [4, 4]


def test_buffers_refuse_rows_that_would_be_read_as_others(folder: Path) -> None:
    session, spec = _open(folder, 1)
    buffers = Buffers(session, spec, batch=2, memory="cpu")
    with pytest.raises(ValueError, match=r"the buffer takes .*float32.*; got .*float64"):
        buffers.run(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"the buffer takes \(\(2, 4\).*; got \(\(4, 2\)"):
        buffers.run(np.zeros((4, 2), np.float32))


def test_a_failed_runs_buffers_are_not_used_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, spec = _open(folder, 0)
    graph = BoundGraph(session, spec, memory="cpu")
    used: list[Buffers] = []
    run = Buffers.run

    def fail_first(self: Buffers, rows: np.ndarray) -> Any:
        used.append(self)
        if len(used) == 1:
            raise RuntimeError("out of memory")
        return run(self, rows)

    monkeypatch.setattr(Buffers, "run", fail_first)
    with pytest.raises(RuntimeError, match="out of memory"):
        graph.run(_images(0, 2))
    graph.run(_images(0, 2))
    assert used[0] is not used[1]
