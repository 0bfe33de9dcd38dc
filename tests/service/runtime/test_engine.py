"""The engine: right numbers, and a folder whose graphs do not fit is refused."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from service.errors import ArtifactError, DeviceUnavailable
from service.models.artifact import load_golden, load_manifest
from service.runtime import sessions
from service.runtime.engine import Engine
from service.runtime.opening import EngineOptions, OpenedGraph, OpenedModel
from service.runtime.sessions import CPU, CUDA
from service.runtime.threads import LanePlan
from tests.service.tiny_model import TinyWeights, read_manifest, write_manifest, write_tiny_model

SHAPE = (1, 16, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny" / "1")


def _load(folder: Path, **options: Any) -> Engine:
    return Engine.load(folder, load_manifest(folder), EngineOptions(**{"device": "cpu", **options}))


def _change(folder: Path, name: str, change: Any) -> None:
    """Change a graph and sign the folder again, as a faulty exporter would."""
    model = onnx.load(folder / name)
    change(model)
    onnx.save(model, folder / name)
    write_manifest(folder, read_manifest(folder))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_encode_and_decode_are_right(tmp_path: Path, channels: int, batch: int) -> None:
    engine = _load(write_tiny_model(tmp_path, channels=channels))
    weights = TinyWeights((channels, 16, 16), 4, 0)
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (batch, channels, 16, 16), dtype=np.uint8)
    z = rng.standard_normal((batch, 4)).astype(np.float32)
    mu, logvar = engine.encode(images)
    right_mu, right_logvar = weights.encode(images)
    assert mu == pytest.approx(right_mu, abs=1e-4)
    assert logvar == pytest.approx(right_logvar, abs=1e-4)
    assert engine.decode(z) == pytest.approx(weights.decode(z), abs=1e-5)


def test_engine_reports_provider_and_lanes(folder: Path) -> None:
    engine = _load(folder, lanes=3)
    assert engine.providers == [CPU]
    assert (engine.plan.lanes, engine.plan.threads) == (3, 1)


def test_lanes_may_run_at_the_same_time(folder: Path) -> None:
    engine = _load(folder)
    weights = TinyWeights(SHAPE, 4, 0)
    rng = np.random.default_rng(3)
    batches = [rng.integers(0, 256, (5, *SHAPE), dtype=np.uint8) for _ in range(40)]
    with ThreadPoolExecutor(4) as lanes:
        for images, (mu, _) in zip(batches, lanes.map(engine.encode, batches), strict=True):
            assert mu == pytest.approx(weights.encode(images)[0], abs=1e-4)


def test_warm_lanes_runs_the_batch_in_every_lane_at_once(folder: Path) -> None:
    together = threading.Barrier(2, timeout=10)
    sizes = []

    def run(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns only when another thread runs it too."""
        together.wait()
        sizes.append(len(rows))
        return (np.zeros(1),) * (2 if rows.dtype == np.uint8 else 1)

    graph = OpenedGraph(run, (CPU,))
    engine = Engine(load_manifest(folder), OpenedModel(graph, graph, LanePlan(2, 1, "two"), ()))

    engine.warm_lanes(8)

    assert sizes == [8] * 4


def test_warm_up_runs_every_size_and_takes_time(folder: Path) -> None:
    assert _load(folder).warm_up((1, 2, 8)) > 0


def test_self_test_passes_on_the_golden_samples(folder: Path) -> None:
    result = _load(folder).self_test(load_golden(folder))
    assert max(result.mu, result.logvar, result.image) < 1e-5


@pytest.mark.parametrize(("name", "output"), [("mu", "mu"), ("decoded", "image")])
def test_self_test_names_the_output_that_differs(folder: Path, name: str, output: str) -> None:
    golden = load_golden(folder)
    wrong = replace(golden, **{name: getattr(golden, name) + np.float32(0.01)})
    message = (
        rf"self-test of model `tiny` version 1 on CPUExecutionProvider: `{output}` must be within "
        r"0.0001 of the golden sample; got a difference of 0.01"
    )
    with pytest.raises(ArtifactError, match=message):
        _load(folder).self_test(wrong)


def test_self_test_refuses_nan_and_other_shapes(folder: Path) -> None:
    golden = load_golden(folder)
    engine = _load(folder)
    with pytest.raises(ArtifactError, match=r"`mu` must be within .*; got a difference of nan"):
        engine.self_test(replace(golden, mu=golden.mu * np.float32("nan")))
    with pytest.raises(ArtifactError, match=r"`mu` must be within .*; got a difference of inf"):
        engine.self_test(replace(golden, mu=golden.mu[:, :2]))


def test_closed_engine_runs_no_more(folder: Path) -> None:
    engine = _load(folder)
    engine.close()
    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.encode(np.zeros((1, *SHAPE), np.uint8))


@pytest.mark.parametrize(
    ("field", "value", "file", "kind"),
    [
        ("height", 8, "encoder", "inputs image uint8 .'batch', 1, 8, 16.*got image tensor.uint8."),
        ("channels", 3, "encoder", "inputs image uint8 .'batch', 3, 16, 16."),
    ],
)
def test_a_graph_of_another_image_size_is_refused(
    folder: Path, field: str, value: int, file: str, kind: str
) -> None:
    manifest = load_manifest(folder)
    other = manifest.model_copy(update={"image": manifest.image.model_copy(update={field: value})})
    with pytest.raises(ArtifactError, match=rf"{file}.onnx` must have the {kind}"):
        Engine.load(folder, other, EngineOptions(device="cpu"))


def test_a_graph_of_another_latent_dim_is_refused(folder: Path) -> None:
    other = load_manifest(folder).model_copy(update={"latent_dim": 5})
    message = r"must have the outputs mu float32 \('batch', 5\); logvar float32 \('batch', 5\) as"
    with pytest.raises(ArtifactError, match=message):
        Engine.load(folder, other, EngineOptions(device="cpu"))


def test_a_graph_with_a_fixed_batch_is_refused(folder: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    _change(folder, "decoder.onnx", fix)
    with pytest.raises(ArtifactError, match=r"decoder.onnx` must have the inputs z float32"):
        _load(folder)


def test_a_graph_that_takes_floats_is_refused(folder: Path) -> None:
    def retype(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT

    _change(folder, "encoder.onnx", retype)
    with pytest.raises(ArtifactError, match=r"encoder.onnx` must have the inputs image uint8"):
        _load(folder)


def test_a_graph_with_another_output_name_is_refused(folder: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node("Identity", ["image"], ["picture"]))
        model.graph.output[0].name = "picture"

    _change(folder, "decoder.onnx", rename)
    with pytest.raises(ArtifactError, match=r"must have the outputs image float32.*got picture"):
        _load(folder)


def test_weights_outside_the_folder_are_refused(folder: Path) -> None:
    model = onnx.load(folder / "encoder.onnx")
    onnx.save(
        model,
        folder / "encoder.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    write_manifest(folder, read_manifest(folder))
    message = r"keeps weights in files that the manifest does not list: \['weights.bin'\]"
    with pytest.raises(ArtifactError, match=message):
        _load(folder)


def test_auto_takes_the_cpu_where_the_gpu_does_not_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sessions, "NVIDIA_CONTROL", Path("/"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **_: real(path, options)
    )
    with caplog.at_level(logging.WARNING):
        assert _load(folder, device="auto").providers == [CPU]
    (fallback,) = [one for one in caplog.records if one.getMessage() == "device_fallback"]
    assert vars(fallback)["fields"]["device"] == "cpu"
    assert vars(fallback)["fields"]["reason"].startswith("the session must run on CUDA")
    with pytest.raises(DeviceUnavailable, match="must run on CUDAExecutionProvider"):
        _load(folder, device="cuda")
