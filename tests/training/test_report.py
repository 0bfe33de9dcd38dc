import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.training.known_model import INFO, FourPixels, KnownVAE, known_report
from training import evidence as evidence_module
from training import report as report_module
from training.checkpoint import load_model
from training.config_file import parse_config
from training.data.parts import split_indices
from training.errors import DataError, RunError
from training.report import gate_has_a_vote, report_run
from training.report_text import print_report, report_table
from training.run_images import open_run_images
from training.runs import start_run

FILES = ("report.json", "report.html", "figures/training.png")


def test_report_finds_the_two_dimensions_that_move():
    report = known_report()
    assert report["relevant_dims"] == [1, 3]
    assert report["n_relevant"] == 2
    assert [row["relevant"] for row in report["dims"]] == [False, True, False, True]
    assert report["disagreements"] == []
    assert report["n_images_used"] == 400


def test_report_statistics_agree_with_closed_forms():
    row = known_report()["dims"][3]
    values = 4 * np.arange(20) / 19 - 2
    kl = 0.5 * (values**2 + 0.1 - np.log(0.1) - 1)
    assert row["mean_kl"] == pytest.approx(kl.mean(), rel=1e-5)
    assert row["active_variance"] == pytest.approx(values.var(), rel=1e-5)
    assert row["mu_mean"] == pytest.approx(0.0, abs=1e-6)
    assert row["mu_std"] == pytest.approx(values.std(), rel=1e-5)
    repeated = np.repeat(values, 20)
    for percent, value in row["mu_quantiles"].items():
        assert value == pytest.approx(np.percentile(repeated, int(percent)), abs=1e-5)


def test_report_sensitivity_follows_the_decoders_slopes():
    dims = known_report()["dims"]
    assert dims[0]["decoder_sensitivity"] == pytest.approx(0.0)
    assert dims[3]["decoder_sensitivity"] > 2 * dims[1]["decoder_sensitivity"] > 0
    assert sum(row["sensitivity_share"] for row in dims) == pytest.approx(1.0)


def test_report_elbo_quantiles_are_those_of_the_images():
    source, vae = FourPixels(), KnownVAE()
    images = source.images(torch.arange(400)).double()
    mu, logvar = (part.double() for part in vae.encode(images.float()))
    p = vae.decode(mu.float()).double()
    likelihood = (images * p.log() + (1 - images) * (1 - p).log()).flatten(1).sum(dim=1)
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(dim=1)
    expected = np.percentile((likelihood - kl).numpy(), [1, 50, 99])
    found = known_report()["elbo_quantiles"]
    assert [found[key] for key in ("1", "50", "99")] == pytest.approx(expected.tolist(), rel=1e-4)


def test_report_says_in_words_what_relevant_dimensions_do(monkeypatch):
    monkeypatch.setattr(
        report_module, "describe_sweep", lambda frames: [f"shows {tuple(frames.shape)}"]
    )
    changes = [row["changes"] for row in known_report()["dims"]]
    assert changes == [[], ["shows (11, 1, 2, 2)"], [], ["shows (11, 1, 2, 2)"]]


def test_report_has_the_keys_that_export_reads():
    report = known_report()
    assert set(report) == {
        "format_version",
        "created",
        "run",
        "rule",
        "dims",
        "relevant_dims",
        "n_relevant",
        "disagreements",
        "elbo_quantiles",
        "n_images_used",
        "polarity",
    }
    assert report["polarity"] == "light_on_dark"
    assert report["created"] == INFO["updated"]
    assert report["run"] == INFO
    assert list(report["dims"][0]["mu_quantiles"]) == ["1", "5", "25", "50", "75", "95", "99"]


def test_report_samples_a_large_set_by_its_seed(monkeypatch):
    monkeypatch.setattr(report_module, "MAX_IMAGES", 50)
    first, again, other = (known_report(seed=s) for s in (1, 1, 2))
    assert first["n_images_used"] == 50
    assert first == again
    assert first["dims"] != other["dims"]


def test_report_of_a_model_without_a_gate_decides_without_its_vote():
    report = known_report(relevance=(1.0, 1.0, 1.0, 1.0), gate_votes=False)
    assert sorted(report["relevant_dims"]) == [1, 3]
    assert {row["votes"]["relevance"] for row in report["dims"]} == {None}


def test_report_tells_a_closed_gate_on_a_working_dimension():
    report = known_report(relevance=(0.01, 0.99, 0.02, 0.10))
    assert report["relevant_dims"] == [1, 3]
    assert report["disagreements"] == [
        "dimension 3 counts as relevant in spite of relevance 0.10; "
        "the gate may not have settled: look at its curve, or train longer"
    ]


def test_gate_has_a_vote_unless_it_is_fixed_and_uniform():
    assert gate_has_a_vote(torch.tensor([1.0, 1.0]), learned=True)
    assert gate_has_a_vote(torch.tensor([1.0, 0.0]), learned=False)
    assert not gate_has_a_vote(torch.tensor([1.0, 1.0]), learned=False)


def test_report_table_lists_relevant_dimensions_first():
    file = io.StringIO()
    Console(file=file, width=80).print(report_table(known_report()))
    lines = file.getvalue().splitlines()
    assert "2 relevant of 4 dimensions" in lines[0]
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()][1:]
    assert [row[0] for row in rows] == ["1", "3", "0", "2"]
    assert rows[0][1] == "0.99"
    assert rows[0][-1] == "++++++"
    assert rows[2][-1] == "------"


@pytest.fixture
def run_dir(tmp_path, make_config, monkeypatch):
    """A run of eight steps, and a report that looks at few images."""
    for name, n in (("MAX_IMAGES", 200), ("SENSITIVITY_IMAGES", 10), ("TRAVERSAL_IMAGES", 3)):
        module = report_module if name == "MAX_IMAGES" else evidence_module
        monkeypatch.setattr(module, name, n)
    start_run(make_config(), tmp_path / "run", console=Console(file=io.StringIO()))
    return tmp_path / "run"


def test_report_run_writes_the_report_and_the_figures(run_dir):
    file = io.StringIO()
    report = report_run(run_dir, console=Console(file=file, width=100))
    assert json.loads((run_dir / "report.json").read_text()) == report
    assert report["run"]["data"]["name"] == "oval-dsprites-32"
    assert sorted(path.name for path in (run_dir / "figures").iterdir()) == [
        "reconstructions.png",
        "relevance.png",
        "training.png",
        "traversals.png",
    ]
    shown = file.getvalue()
    assert "relevant of 4 dimensions" in shown
    assert "+ relevant, - not, . no vote" in shown
    assert f"written: {run_dir / 'figures' / 'traversals.png'}" in shown


def test_report_of_own_images_says_that_it_shows_them(run_dir):
    def shown(report):
        file = io.StringIO()
        print_report(Console(file=file, width=200), report, paths=[])
        return file.getvalue()

    report = report_run(run_dir, console=Console(file=io.StringIO()))
    assert "show images of the training data" not in shown(report)
    report["run"]["data"] = {**report["run"]["data"], "source": "file"}
    assert "show images of the training data: keep them where those may be" in shown(report)


def test_report_run_of_a_model_that_knows_nothing_says_what_to_change(run_dir, monkeypatch):
    monkeypatch.setattr(report_module, "relevant_order", lambda evidence: [])
    file = io.StringIO()
    report = report_run(run_dir, console=Console(file=file, width=100))
    assert report["n_relevant"] == 0
    assert "train longer, or lower the pressure on all of them" in file.getvalue()
    assert "what a sweep does" not in file.getvalue()


def test_report_run_again_gives_the_same_bytes_in_spite_of_a_log_line_cut_short(run_dir):
    def content():
        report_run(run_dir, console=Console(file=io.StringIO()))
        return [(run_dir / name).read_bytes() for name in FILES]

    first = content()
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('garbage\n[]\n{"step": 9, "reco')
    assert content() == first


def test_report_run_refuses_other_images_than_it_was_trained_on(run_dir):
    info = json.loads((run_dir / "run.json").read_text())
    info["data"]["sha256"] = "f" * 64
    (run_dir / "run.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"images it was trained on: SHA-256 ffffffffffff… is rec"):
        report_run(run_dir)


def test_report_run_of_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match=r"is not a run folder: `run.json` cannot be read"):
        report_run(tmp_path)


@pytest.fixture
def vector_run(tmp_path):
    """A run of a few steps on a table, with columns of very different units."""
    rng = np.random.default_rng(0)
    size = rng.standard_normal(300)
    table = np.stack([170 + 9 * size, 310 + 0.1 * size, rng.standard_normal(300)], axis=1)
    path = tmp_path / "people.csv"
    np.savetxt(path, table, delimiter=",", header="height,temperature,noise", comments="")
    tables = {
        "data": {"name": "vectors", "path": str(path), "standardize": True, "holdout": 0.1},
        "model": {"latent_dim": 2, "hidden_units": 8, "initialization": "kaiming"},
        "objective": {"likelihood": "gaussian"},
        "discriminator": {"hidden_units": 8, "hidden_layers": 1},
        "run": {"steps": 20, "batch_size": 32, "threads": 1, "device": "cpu"},
    }
    run_dir = tmp_path / "run"
    start_run(parse_config(tables, origin="test"), run_dir, console=Console(quiet=True))
    return run_dir, table


@pytest.fixture
def constant_column_run(tmp_path):
    """A run on a table whose last column never changes."""
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.standard_normal((300, 2)), np.full(300, 0.1)])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,const", comments="")
    tables = {
        "data": {"name": "vectors", "path": str(tmp_path / "t.csv"), "holdout": 0.0},
        "model": {"latent_dim": 2, "hidden_units": 8, "initialization": "kaiming"},
        "objective": {"likelihood": "gaussian", "kl_weight_max": 0.1},
        "discriminator": {"hidden_units": 8, "hidden_layers": 1},
        "run": {"steps": 20, "batch_size": 32, "threads": 1, "device": "cpu"},
    }
    start_run(parse_config(tables, origin="test"), tmp_path / "run", console=Console(quiet=True))
    return tmp_path / "run"


def test_report_run_says_nothing_of_a_sweeps_effect_on_a_constant_column(constant_column_run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_module, "relevant_order", lambda evidence: [0, 1])
        report = report_run(constant_column_run, console=Console(quiet=True))
    for row in report["dims"]:
        assert row["column_effects"][2] == 0.0
        assert not any("const" in change for change in row["changes"])


def test_report_of_a_dead_model_gives_sensitivity_no_vote(constant_column_run):
    run = load_model(constant_column_run)
    head = run.vae.mu_head()
    head.weight.data *= 0.01
    head.bias.data.zero_()
    report = report_module.relevance_report(
        run.vae,
        open_run_images(run),
        relevance=run.relevance,
        gate_votes=True,
        run_info=run.run_info,
    )
    assert sum(row["sensitivity_share"] for row in report["dims"]) == pytest.approx(1.0)
    assert {row["votes"]["sensitivity"] for row in report["dims"]} == {None}
    assert report["relevant_dims"] == []
    assert "sensitivity" not in " ".join(report["disagreements"])


def test_report_run_of_rows_says_what_moves_each_column(vector_run):
    run_dir, _ = vector_run
    file = io.StringIO()
    report = report_run(run_dir, console=Console(file=file, width=200))
    assert report["columns"] == ["height", "temperature", "noise"]
    assert "polarity" not in report
    assert [len(row["column_effects"]) for row in report["dims"]] == [3, 3]
    text = file.getvalue()
    assert "columns" in text
    assert "pixels" not in text
    assert "held out: ELBO" in text
    assert "nats a row on 30 rows never seen" in text
    page = (run_dir / "report.html").read_text()
    assert "height" in page
    assert "ELBO" in page
    for name in ("reconstructions", "traversals", "relevance", "training"):
        assert (run_dir / f"figures/{name}.png").stat().st_size > 1000


def test_run_of_rows_keeps_what_its_columns_were_shifted_and_divided_by(vector_run):
    run_dir, table = vector_run
    data = json.loads((run_dir / "run.json").read_text())["data"]
    seen = table[_rows_of_training(table)]
    assert len(seen) == 270
    np.testing.assert_allclose(data["offset"], seen.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(data["scale"], seen.std(axis=0), rtol=1e-12)


def test_run_of_rows_is_looked_at_with_its_own_numbers(vector_run):
    run_dir, table = vector_run
    info = json.loads((run_dir / "run.json").read_text())
    info["data"]["offset"] = [0.0, 0.0, 0.0]
    (run_dir / "run.json").write_text(json.dumps(info))
    source = open_run_images(load_model(run_dir))
    indices = torch.arange(source.n_images)
    seen = table[_rows_of_training(table)]
    assert source.images(indices)[:, 0].mean() == pytest.approx(170 / seen[:, 0].std(), rel=0.01)


def _rows_of_training(table):
    return split_indices(len(table), 0.1)[0].numpy()
