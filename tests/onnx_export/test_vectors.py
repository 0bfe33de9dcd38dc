"""A run on rows of numbers through the export, and its folder through the service's own code."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto

from onnx_export.errors import ExportError
from onnx_export.export import export_run
from onnx_export.forms import Precision
from onnx_export.inputs import Samples
from onnx_export.loss import Loss, measure_loss
from onnx_export.quantize import Calibration, reduce_precision
from onnx_export.request import Exported, Request
from onnx_export.trained_run import TrainedRun, read_run
from onnx_export.verify import Reference
from service.dataplane import likelihood_of
from service.elbo import elbo
from service.models.artifact import load_golden, load_manifest
from service.models.repository import scan
from service.models.served import LoadOptions, ServedModel, load_model
from service.runtime.engine import Engine
from service.runtime.opening import EngineOptions
from tests.onnx_export.vector_run import COLUMNS, make_table, write_vector_run
from training.encoding import encode_with_elbo
from training.run_images import open_run_images


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return read_run(write_vector_run(tmp_path_factory.mktemp("vectors")))


@pytest.fixture(scope="module")
def vectors(vector_run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    repository = tmp_path_factory.mktemp("models")
    return export_run(vector_run, Request(repository, triton=repository / "triton"))


def _load(folder: Path) -> ServedModel:
    return load_model(
        scan([folder.parents[1]])[0], LoadOptions(EngineOptions(device="cpu", lanes=1))
    )


def test_manifest_of_rows_names_columns_with_offset_and_scale(vectors: Exported) -> None:
    manifest = load_manifest(vectors.folder)
    table = make_table()
    assert manifest.format_version == 2
    assert manifest.image is None
    assert manifest.vector is not None
    assert manifest.vector.columns == list(COLUMNS)
    np.testing.assert_allclose(manifest.vector.offset, table.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(manifest.vector.scale, table.std(axis=0), rtol=1e-9)
    assert manifest.likelihood_scale == pytest.approx(0.4)


def test_graphs_take_and_give_rows_in_the_tables_own_units(
    vector_run: TrainedRun, vectors: Exported
) -> None:
    engine = Engine.load(vectors.folder, load_manifest(vectors.folder), EngineOptions(device="cpu"))
    source = open_run_images(vector_run.loaded)
    with torch.no_grad():
        expected = vector_run.vae.encode(source.images(torch.arange(50)))[0]
        rebuilt = vector_run.vae.decode(expected).double().numpy()
    offset, scale = np.array(make_table().mean(axis=0)), np.array(make_table().std(axis=0))

    rows = make_table()[:50].astype(np.float32)
    mu, _ = engine.encode(rows)

    assert np.abs(mu - expected.numpy()).max() < 1e-3
    errors = (engine.decode(mu) - (rebuilt * scale + offset)) / scale
    assert np.abs(errors).max() < 1e-3


def test_golden_holds_rows(vectors: Exported) -> None:
    golden = load_golden(vectors.folder)
    assert golden.image.dtype == np.float32
    assert golden.image.shape == golden.decoded.shape == (4, 4)


def test_graph_metadata_names_the_columns(vectors: Exported) -> None:
    model = onnx.load(vectors.folder / "encoder.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["rfvae.columns"] == '["height", "temperature", "pressure", "noise"]'


def test_card_speaks_of_rows_and_columns(vectors: Exported) -> None:
    card = (vectors.folder / "MODEL_CARD.md").read_text()
    assert "Encodes and decodes rows of 4 numbers." in card
    assert "| pressure | 1013" in card
    assert "`golden.npz`, the service's self-test, holds four of the training rows:" in card
    assert "gaussian likelihood of standard deviation 0." in card
    assert "image" not in card.split("## Settings")[0].replace("| image |", "")


def test_triton_reads_rows(vectors: Exported) -> None:
    config = (vectors.folder.parents[1] / "triton/people-encoder/config.pbtxt").read_text()
    assert '{ name: "row" data_type: TYPE_FP32 dims: [4] }' in config


def test_service_gives_the_elbo_of_torch(vector_run: TrainedRun, vectors: Exported) -> None:
    model = _load(vectors.folder)
    source = open_run_images(vector_run.loaded)
    expected = encode_with_elbo(vector_run.vae, source, torch.arange(64)).elbo.numpy()

    rows = make_table()[:64].astype(np.float32)
    mu, logvar = model.engine.encode(rows)
    bound = elbo(
        rows,
        model.engine.decode(mu),
        mu=mu,
        logvar=logvar,
        likelihood=likelihood_of(model.manifest),
    )
    np.testing.assert_allclose(bound, expected, rtol=1e-3, atol=5e-3)


def test_same_run_of_rows_gives_the_same_bytes(
    vector_run: TrainedRun, vectors: Exported, tmp_path: Path
) -> None:
    again = export_run(vector_run, Request(tmp_path / "models"))
    for path in sorted(vectors.folder.iterdir()):
        assert (again.folder / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    "request_form", [{"pruned": True}, {"precision": "float16"}, {"precision": "int8"}]
)
def test_reduced_models_of_rows_load_and_stay_close(
    vector_run: TrainedRun, vectors: Exported, tmp_path: Path, request_form: dict[str, str]
) -> None:
    request = Request(tmp_path / "models", max_error_percent=30, **request_form)  # type: ignore[arg-type]
    folder = export_run(vector_run, request).folder
    reduced = _load(folder)
    full = _load(vectors.folder)
    rows = make_table()[:64].astype(np.float32)
    mu = full.engine.encode(rows)[0][:, full.space.relevant_dims]
    found = reduced.engine.encode(rows)[0][:, reduced.space.relevant_dims]
    assert found.shape == mu.shape
    limit = 1e-5 if "pruned" in request_form else 0.3
    assert np.abs(found - mu).max() < limit
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "training images" not in card
    assert "per image" not in card


def test_cost_of_a_small_set_is_measured_on_rows_that_did_not_calibrate(
    vector_run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[bytes]] = {}

    def reduce(graph: ModelProto, precision: Precision, values: Calibration) -> ModelProto:
        if "row" in values:
            seen["calibrated"] = {row.tobytes() for row in values["row"]}
        return reduce_precision(graph, precision, values)

    def measure(reference: Reference, engine: Engine, rows: Samples, **options: Any) -> Loss:
        assert vector_run.vectors is not None
        inside = vector_run.vectors.standardized(rows.astype(np.float64)).numpy()
        seen["measured"] = {row.tobytes() for row in inside}
        return measure_loss(reference, engine, rows, **options)

    monkeypatch.setattr("onnx_export.contents.reduce_precision", reduce)
    monkeypatch.setattr("onnx_export.contents.measure_loss", measure)
    request = Request(tmp_path / "models", precision="int8", max_error_percent=100)
    exported = export_run(vector_run, request)

    assert len(seen["calibrated"]) == len(seen["measured"]) == 200
    assert not seen["calibrated"] & seen["measured"]
    card = (exported.folder / "MODEL_CARD.md").read_text()
    assert "over 200 rows not used to calibrate" in card


def test_export_refuses_a_column_that_float32_cannot_hold(
    vector_run: TrainedRun, tmp_path: Path
) -> None:
    run = read_run(vector_run.path)
    data = run.loaded.run_info["data"]
    data["offset"][0], data["scale"][0] = 1.7e9, 3600.0
    message = "column `height` varies by 3.6e+03 around a value at which float32 has steps of 128"
    with pytest.raises(ExportError, match=re.escape(message)):
        export_run(run, Request(tmp_path / "models"))
