"""`rfvae-train evaluate` on a run of eight steps, with few votes and images."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits

from training import evaluate as evaluate_module
from training import evidence as evidence_module
from training import report as report_module
from training.data.sprites import Sprites
from training.errors import ConfigError, DataError, RunError
from training.evaluate import OTHER_METRICS, evaluate_run
from training.evaluate_text import OTHER_TITLES, votes_table
from training.metrics import PAPER, ROBUST, VoteProtocol, dci, factor_vae_score
from training.runs import start_run


def quiet():
    return Console(file=io.StringIO(), width=100)


@pytest.fixture(autouse=True, scope="module")
def few_images():
    """Encode hundreds of images instead of tens of thousands."""
    few = {"n_global": 100, "n_images": 20, "n_bootstrap": 50}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "PAPER", replace(PAPER, **few))
        patch.setattr(evaluate_module, "ROBUST", replace(ROBUST, **few))
        patch.setattr(evaluate_module, "SAMPLE_IMAGES", 200)
        patch.setattr(evaluate_module, "DCI_IMAGES", 300)
        patch.setattr(evaluate_module, "DCI_REFITS", 0)
        patch.setattr(report_module, "MAX_IMAGES", 100)
        patch.setattr(evidence_module, "SENSITIVITY_IMAGES", 10)
        patch.setattr(evidence_module, "TRAVERSAL_IMAGES", 3)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_config):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    start_run(make_config(), folder, console=quiet())
    return folder


@pytest.fixture(scope="module")
def evaluated(finished):
    console = quiet()
    evaluation = evaluate_run(finished, seed=3, n_votes=8, console=console)
    return evaluation, console.file.getvalue(), (finished / "evaluation.json").read_text()


def test_evaluate_run_writes_what_it_returns(evaluated):
    evaluation, _, written = evaluated
    plain = json.loads(json.dumps(evaluation))
    assert json.loads(written) == plain
    assert plain["seed"] == 3
    assert plain["n_votes"] == 8
    assert plain["factor_names"] == ["scale", "orientation", "x", "y"]


@pytest.mark.parametrize("name", ["factor_vae_score", "one_factor_varied_score"])
def test_evaluate_run_scores_each_metric_in_three_ways(evaluated, name):
    ways = evaluated[0]["metrics"][name]
    assert set(ways) == {"paper", "robust", "relevant"}
    assert ways["paper"]["eval_accuracy"] is None
    assert ways["paper"]["score"] == ways["paper"]["train_accuracy"]
    assert ways["robust"]["score"] == ways["robust"]["eval_accuracy"]
    table = np.array(ways["robust"]["table"])
    assert table.shape == (4, 4)
    assert table.sum() in (0, 8)
    assert set(ways["robust"]) >= {"train_accuracy", "active_dims", "ci95"}
    assert ways["relevant"]["active_dims"] == sorted(evaluated[0]["relevant_dims"])


def test_evaluate_run_adds_mig_and_dci(evaluated):
    further = evaluated[0]["further_metrics"]
    assert 0 <= further["mig"]["score"] <= 1
    assert len(further["mig"]["gaps"]) == 4
    assert 0 <= further["dci_forest"]["disentanglement"] <= 1
    assert further["dci_forest"]["regressor"].endswith("depth (12, 5, 12, 12)")
    assert further["n_images"] == 200
    assert further["dci_forest"]["n_images"] == 300
    assert "DCI (forest, 300 images)" in evaluated[1]


def dci_of_codes_that_know(numbers):
    """DCI of codes that are these factors and noise, whatever the model says."""

    def of_made_codes(codes, factors, **settings):
        noise = np.random.default_rng(0).normal(size=(len(factors), 2))
        return dci(np.column_stack([factors[:, numbers], noise]), factors, **settings)

    return of_made_codes


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ([0, 2], "DCI rests on 2 of 4 factors, scale, x; the others are predicted no better than "),
        ([2], "DCI rests on 1 of 4 factors, x; the others are predicted no better than by a co"),
        ([], "DCI rests on none of 4 factors; they are predicted no better than by a constant"),
    ],
)
def test_evaluate_run_says_on_which_factors_dci_rests(finished, monkeypatch, known, line):
    monkeypatch.setattr(evaluate_module, "dci", dci_of_codes_that_know(known))
    console = quiet()
    found = evaluate_run(finished, n_votes=8, console=console)["further_metrics"]["dci_forest"]
    assert line in console.file.getvalue()
    assert found["predicted_factors"] == [("scale", "orientation", "x", "y")[k] for k in known]
    assert found["varying_factors"] == ["scale", "orientation", "x", "y"]
    assert found["disentanglement_is_defined"] is (len(known) > 1)
    undefined = "of fewer than two it is not defined, given as 0"
    assert (undefined in console.file.getvalue()) is (len(known) < 2)


def test_evaluate_run_says_nothing_of_factors_where_all_are_predicted(finished, monkeypatch):
    monkeypatch.setattr(evaluate_module, "dci", dci_of_codes_that_know([0, 1, 2, 3]))
    console = quiet()
    evaluate_run(finished, n_votes=8, console=console)
    assert "DCI rests on" not in console.file.getvalue()
    assert "not defined" not in console.file.getvalue()


def test_evaluate_run_says_that_dci_has_too_few_images_to_test_on(finished, monkeypatch):
    monkeypatch.setattr(evaluate_module, "DCI_IMAGES", 50)
    console = quiet()
    further = evaluate_run(finished, n_votes=8, console=console)["further_metrics"]
    assert further["dci_forest"]["n_test_images"] == 5
    assert "it takes 10 images to test on, a tenth of all: give mor" in console.file.getvalue()


def test_evaluate_run_prints_the_intervals_of_dci_and_mig(finished, monkeypatch):
    monkeypatch.setattr(evaluate_module, "DCI_REFITS", 2)
    console = quiet()
    further = evaluate_run(finished, n_votes=8, console=console)["further_metrics"]
    gap, regressed = further["mig"], further["dci_forest"]
    for name, score, (low, high) in (
        ("MIG", gap["score"], gap["ci95"]),
        ("completeness", regressed["completeness"], regressed["completeness_ci95"]),
        ("NRMSE", regressed["informativeness_nrmse"], regressed["informativeness_ci95"]),
    ):
        assert f"{name} {score:.3f} ({low:.3f} to {high:.3f})" in console.file.getvalue()


def test_evaluate_run_prints_votes_by_factor_and_a_summary(evaluated):
    shown = evaluated[1]
    assert "Metric I: one factor fixed (factor_vae_score)" in shown
    assert "Metric II: one factor varied (one_factor_varied_score)" in shown
    for word in ("orientation", "stands for", "paper's way", "held out, relevant dims", "MIG 0."):
        assert word in shown


def test_evaluate_run_again_gives_the_same_bytes(finished, evaluated):
    evaluate_run(finished, seed=3, n_votes=8, console=quiet())
    assert (finished / "evaluation.json").read_text() == evaluated[2]


def test_evaluate_run_takes_the_relevant_dims_of_a_report_of_this_step(finished):
    step = json.loads((finished / "run.json").read_text())["step"]
    report = finished / "report.json"
    try:
        report.write_text(json.dumps({"run": {"step": step}, "relevant_dims": [2, 0]}))
        assert evaluate_run(finished, n_votes=4, console=quiet())["relevant_dims"] == [2, 0]
        report.write_text(json.dumps({"run": {"step": step - 1}, "relevant_dims": [2, 0]}))
        assert evaluate_run(finished, n_votes=4, console=quiet())["relevant_dims"] != [2, 0]
    finally:
        report.unlink()


def test_evaluate_run_without_factors_points_to_the_report(finished, monkeypatch):
    unlabelled = Sprites("oval-dsprites", size=32)
    unlabelled.factors = None
    monkeypatch.setattr(evaluate_module, "open_run_images", lambda run: unlabelled)
    with pytest.raises(DataError, match="`oval-dsprites-32` comes without any; `rfvae-train repo"):
        evaluate_run(finished, console=quiet())


@pytest.mark.parametrize(
    ("n", "value", "text"),
    [
        (9, "k", "needs 10 images at least, .* `digits[^`]*` has 9 with factors"),
        (40, "7", "needs a factor that varies; `digits[^`]*` has one value each for dose"),
    ],
)
def test_evaluate_run_refuses_factors_that_teach_nothing(tmp_path, make_config, n, value, text):
    np.save(tmp_path / "digits.npy", load_digits().images[:n])
    lines = ["dose", *(str(k) if value == "k" else value for k in range(n))]
    (tmp_path / "factors.csv").write_text("\n".join(lines))
    data = {"name": "images", "path": str(tmp_path / "digits.npy"), "holdout": 0.0}
    config = make_config(data=data | {"factors": str(tmp_path / "factors.csv")})
    start_run(config, tmp_path / "run", console=quiet())
    with pytest.raises(DataError, match=text):
        evaluate_run(tmp_path / "run", console=quiet())


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, make_config):
    """A run on scikit-learn's digits, whose labels form a table and no grid."""
    folder, digits = tmp_path_factory.mktemp("digits"), load_digits()
    np.save(folder / "digits.npy", digits.images[:200])
    ink = digits.images[:200].mean(axis=(1, 2))
    noise = np.random.default_rng(0).random(200)
    rows = zip(digits.target[:200], ink, noise, strict=True)
    lines = ["digit,ink,noise", *(f"{digit},{level},{other}" for digit, level, other in rows)]
    (folder / "factors.csv").write_text("\n".join(lines))
    data = {"name": "images", "path": str(folder / "digits.npy"), "holdout": 0.1}
    config = make_config(data=data | {"factors": str(folder / "factors.csv")})
    start_run(config, folder / "run", console=quiet())
    return folder / "run"


def test_evaluate_run_scores_a_table_of_factors(labelled):
    console = quiet()
    evaluation = evaluate_run(labelled, n_votes=8, console=console)
    assert evaluation["factor_names"] == ["digit", "ink", "noise"]
    assert np.array(evaluation["metrics"]["factor_vae_score"]["robust"]["table"]).shape == (4, 3)
    assert evaluation["n_images_encoded"] == 180
    # Of 180 images no two differ in one of three factors alone, or hardly any.
    if "one_factor_varied_score" not in evaluation["metrics"]:
        assert (
            "Metric II: one factor varied (one_factor_varied_score): not scored: this metric"
            in (" ".join(console.file.getvalue().split()))
        )


def test_report_run_compares_held_out_images(labelled):
    console = quiet()
    report = report_module.report_run(labelled, console=console)
    assert report["held_out"]["n_images"] == 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_module, "HELD_OUT_IMAGES", 7)
        assert report_module.report_run(labelled, console=quiet())["held_out"]["n_images"] == 7
    assert report["held_out"]["elbo"] < 0
    assert "held out: ELBO -" in console.file.getvalue()


def test_evaluate_run_of_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        evaluate_run(tmp_path, console=quiet())


def test_votes_table_names_what_each_dimension_stands_for():
    grid = np.stack(np.unravel_index(np.arange(30), (6, 5)), axis=1)
    codes = np.column_stack([grid[:, 1], np.zeros(30), grid[:, 0]]).astype(float)
    result = factor_vae_score(codes, grid, seed=0, protocol=VoteProtocol(n_train=10, n_eval=20))
    console = quiet()
    console.print(votes_table("factor_vae_score", result, factor_names=("hue", "size")))
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["0", "0", "10", "size"] in rows
    assert ["2", "10", "0", "hue"] in rows
    assert ["right", "100.0%", "100.0%"] in rows


def test_votes_table_keeps_brackets_in_the_names_of_factors():
    grid = np.stack(np.unravel_index(np.arange(30), (6, 5)), axis=1)
    protocol = VoteProtocol(n_train=10, n_eval=20)
    result = factor_vae_score(grid.astype(float), grid, seed=0, protocol=protocol)
    console = Console(file=io.StringIO(), width=120)
    names = ("age [years]", "size [/mm]")
    console.print(votes_table("factor_vae_score", result, factor_names=names))
    assert [console.file.getvalue().count(name) for name in names] == [2, 2]


def test_evaluate_run_refuses_fewer_votes_than_factors(finished, labelled):
    with pytest.raises(ConfigError, match="needs a vote: got --votes 3 for 4 factors; give 4 or "):
        evaluate_run(finished, n_votes=3, console=quiet())
    with pytest.raises(ConfigError, match="needs a vote: got --votes 1 for 3 factors; give 3 or "):
        evaluate_run(labelled, n_votes=1, console=quiet())


def test_evaluate_run_names_the_factor_that_others_decide(tmp_path, make_config):
    digits = load_digits()
    np.save(tmp_path / "digits.npy", digits.images[:200])
    rng = np.random.default_rng(0)
    a, b = rng.integers(3, size=200), rng.integers(3, size=200)
    lines = ["a,b,big", *(f"{x},{y},{int(x > 1)}" for x, y in zip(a, b, strict=True))]
    (tmp_path / "factors.csv").write_text("\n".join(lines))
    data = {"name": "images", "path": str(tmp_path / "digits.npy"), "holdout": 0.0}
    config = make_config(data=data | {"factors": str(tmp_path / "factors.csv")})
    start_run(config, tmp_path / "run", console=quiet())
    console = quiet()
    evaluation = evaluate_run(tmp_path / "run", n_votes=8, console=console)
    shown = " ".join(console.file.getvalue().split())
    assert (
        "this metric needs two images that differ in `big` and in no other factor; got none among "
        "200. Leave `big` out of the factors: the others decide it, or the images are too few"
    ) in shown
    assert set(evaluation["metrics"]) == {"factor_vae_score"}


def test_evaluate_run_of_rows_counts_nats_a_row(tmp_path, make_config):
    config = make_config(
        data={"name": "linear-gaussian"}, objective={"likelihood": "gaussian", "tc_weight": 5.0}
    )
    start_run(config, tmp_path / "run", console=quiet())
    console = quiet()
    evaluate_run(tmp_path / "run", n_votes=8, console=console)
    assert " nats a row, squared error" in console.file.getvalue()


def test_evaluate_all_adds_the_literatures_other_scores(finished):
    console = quiet()
    further = evaluate_run(finished, n_votes=8, every_metric=True, console=console)[
        "further_metrics"
    ]
    for name, title in OTHER_TITLES.items():
        assert 0 <= further[name]["score"] <= 1
        low, high = further[name]["ci95"]
        assert low <= further[name]["score"] <= high
        assert title in console.file.getvalue()


def test_evaluate_has_a_title_for_each_of_its_metrics():
    assert list(OTHER_TITLES) == list(OTHER_METRICS)
