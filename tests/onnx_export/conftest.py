"""A tiny run folder as training leaves it, and one export of it that many tests look at."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import onnx_export.contents
from onnx_export.export import export_run
from onnx_export.network_graphs import Graphs, arrange, trace_graphs
from onnx_export.request import Exported, Request
from onnx_export.trained_run import TrainedRun, read_run
from training.config_file import parse_config
from training.networks import VAE
from training.runs import start_run

CONFIG = {
    "data": {"name": "oval-dsprites", "size": 32},
    "model": {"latent_dim": 4, "hidden_units": 16, "initialization": "kaiming"},
    "discriminator": {"hidden_units": 8, "hidden_layers": 1},
    "run": {"steps": 2, "batch_size": 4, "log_every": 1, "threads": 1, "device": "cpu"},
}
QUANTILES = {"1": -2.0, "5": -1.5, "25": -0.5, "50": 0.0, "75": 0.5, "95": 1.5, "99": 2.0}
EVALUATION = {
    "format_version": 1,
    "step": 2,
    "seed": 0,
    "n_votes": 800,
    "factor_names": ["scale", "orientation"],
    "metrics": {
        "factor_vae_score": {
            "paper": {"score": 1.0, "ci95": None, "factor_accuracy": [1.0, 1.0]},
            "relevant": {"eval_accuracy": 1.0},
            "robust": {"eval_accuracy": 0.9875, "ci95": [0.97, 0.995]},
        },
        "one_factor_varied_score": {
            "paper": {"score": 0.954, "ci95": [0.94, 0.97], "factor_accuracy": [1.0, 0.9]},
            "robust": {"eval_accuracy": 0.95, "ci95": [0.93, 0.97]},
        },
    },
    "further_metrics": {"mig": {"score": 0.41}, "n_images": 100},
}

ChangeRun = Callable[[Callable[[Path], None]], Path]


def describe_dim(dim: int, *, relevant: bool) -> dict[str, Any]:
    return {
        "dim": dim,
        "relevance": 0.9 if relevant else 0.05,
        "mean_kl": 3.0 + dim if relevant else 0.01,
        "active_variance": 0.9,
        "mu_mean": 0.1,
        "mu_std": 1.0,
        "mu_quantiles": QUANTILES,
        "decoder_sensitivity": 0.5,
        "changes": [f"moves {dim} pixels up"] if relevant else [],
        "votes": {"relevance": relevant, "kl": relevant},
        "relevant": relevant,
    }


def make_report(run_json: dict[str, Any]) -> dict[str, Any]:
    return {
        "format_version": 1,
        "created": run_json["updated"],
        "run": run_json,
        "rule": "Relevant is what moves.",
        "dims": [describe_dim(dim, relevant=dim in (1, 3)) for dim in range(4)],
        "relevant_dims": [3, 1],
        "n_relevant": 2,
        "disagreements": ["dimension 1 counts as relevant in spite of its looks"],
        "elbo_quantiles": QUANTILES,
        "n_images_used": 100,
    }


def write_run(folder: Path) -> Path:
    start_run(parse_config(CONFIG, origin="test"), folder, console=Console(quiet=True))
    report = make_report(json.loads((folder / "run.json").read_text()))
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    (folder / "figures").mkdir()
    for name in ("traversals", "relevance", "training"):
        (folder / "figures" / f"{name}.png").write_bytes(b"a picture of " + name.encode())
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, do not change it."""
    return write_run(tmp_path_factory.mktemp("training") / "run")


@pytest.fixture(scope="session")
def run(run_dir: Path) -> TrainedRun:
    return read_run(run_dir)


@pytest.fixture(scope="session")
def exported(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One whole export; read it, do not change it."""
    repository = tmp_path_factory.mktemp("repository")
    return export_run(run, Request(repository, names="scale=3"))


@pytest.fixture(scope="session")
def traced(run: TrainedRun) -> Graphs:
    """Takes seconds, so it is done once for all tests that do not look at the tracing itself."""
    return trace_graphs(run.vae)


@pytest.fixture(scope="session")
def graphs(traced: Graphs) -> Graphs:
    return arrange(traced, "cpu")


@pytest.fixture
def traced_before(traced: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the seconds of tracing, which it does not look at."""

    def give(vae: VAE) -> Graphs:
        del vae
        return traced

    monkeypatch.setattr(onnx_export.contents, "trace_graphs", give)


@pytest.fixture
def make_environment(tmp_path: Path) -> Callable[..., Path]:
    """Install packages into an environment of their own; gives its Python."""

    def make(*packages: str) -> Path:
        folder = tmp_path / "environment"
        python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-compile", *packages], check=True
        )
        return python

    return make
