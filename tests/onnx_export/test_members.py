"""Every member of the family, gray and color, small and large: exported, served, as in torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import training
from onnx_export.export import export_run
from onnx_export.forms import Precision
from onnx_export.inputs import training_images
from onnx_export.request import Request
from onnx_export.trained_run import TrainedRun, read_run
from service.dataplane import likelihood_of
from service.elbo import elbo
from service.models.repository import scan
from service.models.served import LoadOptions, load_model
from service.runtime.engine import TOLERANCE
from service.runtime.opening import EngineOptions
from tests.service.process import run as service_command
from training import evidence as evidence_module
from training import report as report_module
from training.config_file import parse_config, read_tables
from training.encoding import encode_with_elbo
from training.report import report_run
from training.run_images import open_run_images
from training.runs import start_run

FAMILY = sorted((Path(training.__file__).parent / "configs" / "family").glob("*.toml"))
TINY: dict[str, Any] = {
    "model": {"hidden_units": 8},
    "discriminator": {"hidden_units": 8, "hidden_layers": 1},
    "run": {"steps": 2, "batch_size": 4, "log_every": 1, "threads": 1, "device": "cpu"},
}


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_IMAGES", 50)
    for name in ("SENSITIVITY_IMAGES", "TRAVERSAL_IMAGES"):
        monkeypatch.setattr(evidence_module, name, 3)


def _images_file(path: Path, *, size: int, channels: int) -> Path:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 4, 4, channels), dtype=np.uint8)
    images = coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    np.save(path, images if channels == 3 else images[..., 0])
    return path


def _export(tables: dict[str, Any], folder: Path) -> None:
    """Train two steps, report, export, load as the service does, and compare it with torch."""
    for name, table in TINY.items():
        tables[name] = {**tables.get(name, {}), **table}
    console = Console(quiet=True)
    start_run(parse_config(tables, origin="test"), folder / "run", console=console)
    report_run(folder / "run", console=console)
    run = read_run(folder / "run")
    export_run(run, Request(folder / "models", name="member", force=True))
    model = load_model(
        scan([folder / "models"])[0], LoadOptions(EngineOptions(device="cpu", lanes=1))
    )
    images = training_images(run.loaded, 8)
    mu, logvar = model.engine.encode(images)
    bound = elbo(
        images,
        model.engine.decode(mu),
        mu=mu,
        logvar=logvar,
        likelihood=likelihood_of(model.manifest),
    )
    source = open_run_images(run.loaded)
    indices = torch.from_numpy(np.linspace(0, source.n_images - 1, 8).round().astype(np.int64))
    expected = encode_with_elbo(run.vae, source, indices)
    np.testing.assert_allclose(mu, expected.mu.numpy(), atol=1e-4)
    # uint8 pixels of a drawn image are rounded by up to half a level.
    np.testing.assert_allclose(bound, expected.elbo.numpy(), rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("config", FAMILY, ids=lambda path: path.stem)
def test_every_member_of_the_family_is_exported_and_loads(config: Path, tmp_path: Path) -> None:
    tables = read_tables(config)
    tables["data"] = {**tables.get("data", {}), "name": "oval-dsprites", "size": 32}
    _export(tables, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("size", [28, 48, 64, 100, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_every_size_and_color_are_exported_and_load(
    size: int, channels: int, tmp_path: Path
) -> None:
    path = _images_file(tmp_path / "images.npy", size=size, channels=channels)
    _export({"data": {"name": "images", "path": str(path), "size": size}}, tmp_path)


def test_color_images_with_a_gaussian_likelihood_are_exported_and_load(tmp_path: Path) -> None:
    path = _images_file(tmp_path / "images.npy", size=28, channels=3)
    tables = {
        "data": {"name": "images", "path": str(path), "size": 28},
        "objective": {"likelihood": "gaussian", "likelihood_scale": 0.25},
    }
    _export(tables, tmp_path)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_reduced_precision_is_loaded_with_the_tolerance_of_its_manifest(
    run: TrainedRun, tmp_path: Path, precision: Precision
) -> None:
    request = Request(tmp_path / "models", precision=precision, max_error_percent=100)
    folder = export_run(run, request).folder
    model = load_model(
        scan([tmp_path / "models"])[0], LoadOptions(EngineOptions(device="cpu", lanes=1))
    )
    errors = (model.self_test.mu, model.self_test.logvar, model.self_test.image)
    assert TOLERANCE < max(errors) <= model.manifest.parity.tolerance
    done = service_command("check", str(folder))
    assert done.returncode == 0, done.stderr
    assert "self-test  ok" in done.stdout
