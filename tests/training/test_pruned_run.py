import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from onnx_export.export import export_run
from onnx_export.request import Request
from onnx_export.trained_run import doubts, read_run
from service.models.artifact import load_manifest
from service.runtime.engine import Engine
from service.runtime.opening import EngineOptions
from training import evidence as evidence_module
from training import report as report_module
from training.checkpoint import load_model
from training.cli import main
from training.config_file import load_config
from training.errors import ConfigError, RunError
from training.pruned_run import Limits, prune_run
from training.report import report_run
from training.runs import start_run

QUIET = Console(quiet=True)
ALL = Limits(keep=[2, 0], max_loss=1.0, force=True)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, make_config):
    """A run of eight steps, with an image held out; read it, do not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    config = make_config(relevance={"initial": (0.9, 0.2, 0.8, 0.3)}, data={"holdout": 1e-4})
    start_run(config, out, console=QUIET)
    return out


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    for name, n in (("MAX_IMAGES", 100), ("SENSITIVITY_IMAGES", 10), ("TRAVERSAL_IMAGES", 3)):
        module = report_module if name == "MAX_IMAGES" else evidence_module
        monkeypatch.setattr(module, name, n)


def test_pruned_run_decodes_as_the_full_model_with_the_rest_at_its_mean(run_dir, tmp_path):
    run = load_model(run_dir)
    report = report_module.report_of_run(run_dir, run, report_module.open_run_images(run))
    means = torch.tensor([row["mu_mean"] for row in report["dims"]])
    prune_run(run_dir, tmp_path / "small", limits=ALL, console=QUIET)
    small = load_model(tmp_path / "small")
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    full = means.repeat(3, 1)
    full[:, [2, 0]] = z
    torch.testing.assert_close(small.vae.decode(z), run.vae.decode(full))
    torch.testing.assert_close(small.relevance, run.relevance[[2, 0]])


def test_pruned_run_says_what_it_was_made_from_and_what_it_lost(run_dir, tmp_path):
    file = io.StringIO()
    console = Console(file=file, width=100)
    pruned = prune_run(run_dir, tmp_path / "small", limits=ALL, console=console)
    info = json.loads((tmp_path / "small" / "run.json").read_text())
    assert info["status"] == "finished"
    origin = info["pruned_from"]
    assert (origin["run"], origin["latent_dim"], origin["dims"]) == ("run", 4, [2, 0])
    assert (origin["images"], origin["n_images"]) == ("held out", 25)
    assert origin["before"]["elbo"] == pruned.loss.before.elbo
    shown = file.getvalue()
    assert "kept 2 of 4 dimensions: 2 becomes 0, 0 becomes 1" in shown
    assert "measured on 25 held out images, reconstructed from mu" in shown
    assert "% of what the code explains (the mean image as every reconstruction costs" in shown


def test_pruned_run_keeps_its_dimensions_in_config_and_log(run_dir, tmp_path):
    prune_run(run_dir, tmp_path / "small", limits=ALL, console=QUIET)
    config = load_config(tmp_path / "small" / "config.toml")
    assert config.model.latent_dim == 2
    assert config.relevance.initial == (0.8, 0.9)
    first, small = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run_dir, tmp_path / "small")
    )
    assert small[0]["kl_per_dim"] == [first[0]["kl_per_dim"][dim] for dim in (2, 0)]
    assert small[0]["loss"] == first[0]["loss"]
    assert len(small) == len(first)


def test_pruned_run_is_reported_like_any_other(run_dir, tmp_path):
    small = tmp_path / "small"
    prune_run(run_dir, small, limits=ALL, console=QUIET)
    report = report_run(small, console=QUIET)
    assert [row["dim"] for row in report["dims"]] == [0, 1]
    assert (small / "figures" / "training.png").exists()
    found = doubts(read_run(small))
    assert [doubt for doubt in found if "no dimension is relevant" not in doubt] == []


def test_pruned_run_keeps_the_vote_of_a_fixed_mask(tmp_path, make_config):
    mask = {"mode": "fixed", "initial": (1, 0, 1, 1)}
    start_run(make_config(relevance=mask), tmp_path / "run", console=QUIET)
    for folder, smaller, kept in (("run", "small", [0, 2, 3]), ("small", "smaller", [0, 1])):
        limits = Limits(keep=kept, max_loss=1.0, force=True)
        prune_run(tmp_path / folder, tmp_path / smaller, limits=limits, console=QUIET)
        report = report_run(tmp_path / smaller, console=QUIET)
        assert {row["votes"]["relevance"] for row in report["dims"]} == {True}


def test_pruned_run_without_a_gate_gets_no_vote_of_it(tmp_path, make_config):
    fixed = {"mode": "fixed", "initial": 1}
    start_run(make_config(relevance=fixed), tmp_path / "run", console=QUIET)
    prune_run(tmp_path / "run", tmp_path / "small", limits=ALL, console=QUIET)
    report = report_run(tmp_path / "small", console=QUIET)
    assert {row["votes"]["relevance"] for row in report["dims"]} == {None}


@pytest.mark.slow
def test_pruned_run_exports_and_serves(run_dir, tmp_path):
    small = tmp_path / "small"
    prune_run(run_dir, small, limits=ALL, console=QUIET)
    report_run(small, console=QUIET)
    done = export_run(read_run(small), Request(tmp_path / "models", force=True))
    manifest = load_manifest(done.folder)
    assert manifest.latent_dim == 2
    z = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    engine = Engine.load(done.folder, manifest, EngineOptions(device="cpu", lanes=1, threads=1))
    expected = load_model(small).vae.decode(torch.from_numpy(z))
    np.testing.assert_allclose(engine.decode(z), expected.numpy(), atol=1e-5)
    engine.close()


def test_pruned_run_is_evaluated_like_any_other(run_dir, tmp_path, monkeypatch):
    for name in ("SAMPLE_IMAGES", "DCI_IMAGES"):
        monkeypatch.setattr(f"training.evaluate.{name}", 400)
    prune_run(run_dir, tmp_path / "small", limits=ALL, console=QUIET)
    assert call("evaluate", tmp_path / "small", "--votes", 20) == 0
    evaluation = json.loads((tmp_path / "small" / "evaluation.json").read_text())
    assert len(evaluation["further_metrics"]["mig"]["table"]) == 2


def test_prune_refuses_what_loses_too_much_and_writes_nothing(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("training.pruning.PruningLoss.share", 0.0312)
    expected = r"pruning may lose 2.0% of what the code explains: it would lose 3.1%; nothing was"
    with pytest.raises(RunError, match=expected):
        prune_run(run_dir, tmp_path / "small", limits=Limits(keep=[1]), console=QUIET)
    assert not (tmp_path / "small").exists()
    prune_run(run_dir, tmp_path / "a", limits=Limits(keep=[1], max_loss=0.04), console=QUIET)
    prune_run(run_dir, tmp_path / "b", limits=Limits(keep=[1], force=True), console=QUIET)
    assert (tmp_path / "a" / "run.json").exists()
    assert (tmp_path / "b" / "run.json").exists()


@pytest.mark.parametrize(
    ("keep", "error", "text"),
    [
        ([7], ConfigError, r"`--keep` takes dimensions from 0 to 3: got 7"),
        ([3, 2, 1, 0], RunError, r"nothing to drop: all 4 dimensions of `.*` are kept"),
    ],
)
def test_prune_explains_what_cannot_be_kept(run_dir, tmp_path, keep, error, text):
    with pytest.raises(error, match=text):
        prune_run(run_dir, tmp_path / "small", limits=Limits(keep=keep), console=QUIET)


def test_prune_without_a_relevant_dimension_says_so(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "relevant_order", lambda evidence: [])
    with pytest.raises(RunError, match=r"pruning keeps the relevant dimensions: `.*` has none"):
        prune_run(run_dir, tmp_path / "small", console=QUIET)


def test_prune_needs_a_finished_run(run_dir, tmp_path, monkeypatch):
    info = json.loads((run_dir / "run.json").read_text()) | {"status": "interrupted"}
    monkeypatch.setattr("training.run_folder.RunFolder.read_info", lambda folder: info)
    with pytest.raises(RunError, match=r"`.*` is interrupted at step 8; go on with rfvae-train"):
        prune_run(run_dir, tmp_path / "small", console=QUIET)


def call(*arguments):
    """Run the command line; its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_prune_command_line_and_what_resume_makes_of_it(run_dir, tmp_path, capsys):
    small = tmp_path / "small"
    assert call("prune", run_dir, "--out", small, "--keep", 1, "--max-loss", 1, "--force") == 0
    assert f"Next: rfvae-train report {small}" in capsys.readouterr().out
    assert call("resume", small, "--steps", 20) == 1
    assert capsys.readouterr().err == (
        f"error: `{small}` was pruned from `run` and has no optimizers to go on with: resume that "
        "run, and prune it again\n"
    )
    assert call("prune", run_dir, "--out", small) == 1
    assert "a run needs a new or empty folder" in capsys.readouterr().err
