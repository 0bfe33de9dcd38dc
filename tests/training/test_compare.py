import io
import json

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits

from training.cli import main
from training.compare import clusters_table, compare_runs, runs_table
from training.comparison import Comparison, Found
from training.data.image_folder import image_files
from training.errors import ConfigError, DataError
from training.runs import start_run

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_config):
    """Two runs of eight steps on the same images; read them, do not change them."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        start_run(make_config(run={"seed": seed}), folder / f"seed{seed}", console=QUIET)
    return [folder / "seed1", folder / "seed2"]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory, make_config):
    """A run on rows of numbers."""
    out = tmp_path_factory.mktemp("vectors") / "run"
    config = make_config(data={"name": "linear-gaussian"}, objective={"likelihood": "gaussian"})
    start_run(config, out, console=QUIET)
    return out


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    """And every dimension relevant: these models know nothing yet."""
    monkeypatch.setattr("training.compare.N_IMAGES", 200)
    monkeypatch.setattr("training.report.MAX_IMAGES", 100)
    monkeypatch.setattr("training.evidence.SENSITIVITY_IMAGES", 10)
    monkeypatch.setattr("training.evidence.TRAVERSAL_IMAGES", 3)
    monkeypatch.setattr("training.report.relevant_order", lambda dims: [e.dim for e in dims[:3]])


def test_compare_writes_its_findings_and_pictures(runs, tmp_path):
    file = io.StringIO()
    out = tmp_path / "compared"
    content = compare_runs(runs, out=out, console=Console(file=file, width=100))
    assert json.loads((out / "compare.json").read_text()) == json.loads(json.dumps(content))
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.json",
        "matches.png",
        "traversals.png",
    ]
    with pytest.raises(DataError, match="holds no images"):
        image_files(out)  # Written below training images, they are none of them.
    assert [run["seed"] for run in content["runs"]] == [1, 2]
    assert [run["n_relevant"] for run in content["runs"]] == [3, 3]
    assert sum(len(cluster["members"]) for cluster in content["clusters"]) == 6
    shown = file.getvalue()
    assert "3 of 4" in shown
    assert "found in" in shown
    assert "scale: found in " in shown
    assert f"written: {out / 'matches.png'}" in shown


@pytest.fixture(scope="module")
def half_labelled(tmp_path_factory, make_config):
    """Two runs on the same images, of which one knows a factor."""
    folder = tmp_path_factory.mktemp("digits")
    np.save(folder / "digits.npy", load_digits().images[:60])
    labels = "\n".join(map(str, load_digits().target[:60]))
    (folder / "factors.csv").write_text(f"digit\n{labels}\n")
    data = {"name": "images", "path": str(folder / "digits.npy")}
    known = data | {"factors": str(folder / "factors.csv")}
    for name, one in (("known", known), ("unknown", data)):
        start_run(make_config(data=one), folder / name, console=QUIET)
    return [folder / "known", folder / "unknown"]


@pytest.mark.parametrize("order", [1, -1])
def test_compare_takes_known_factors_from_whichever_run_has_them(half_labelled, order):
    file = io.StringIO()
    compare_runs(half_labelled[::order], console=Console(file=file, width=100))
    assert "digit: found in " in file.getvalue()


def test_run_agrees_with_a_copy_of_itself(runs, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("run.json", "checkpoint.safetensors"):
        (copy / name).write_bytes((runs[0] / name).read_bytes())
    content = compare_runs([runs[0], copy], console=QUIET)
    assert [cluster["n_found"] for cluster in content["clusters"]] == [2, 2, 2]
    assert [cluster["correlation"] for cluster in content["clusters"]] == pytest.approx([1.0] * 3)
    assert content["pairs"][0]["agreement"] == pytest.approx(1.0)
    assert list(tmp_path.iterdir()) == [copy]


def test_compare_refuses_runs_on_other_images(runs, vectors):
    expected = (
        r"runs are compared over the same images: `.*seed1` saw oval-dsprites-32 of 1x32x32 "
        r"\(SHA-256 \w{12}…\) and `.*run` linear-gaussian of 16 \(SHA-256 \w{12}…\); compare runs "
        "of one set"
    )
    with pytest.raises(DataError, match=expected):
        compare_runs([runs[0], vectors], console=QUIET)


def test_compare_refuses_one_run_and_the_same_run_twice(runs):
    with pytest.raises(ConfigError, match="a comparison needs two runs or more: got 1; train the"):
        compare_runs(runs[:1], console=QUIET)
    with pytest.raises(ConfigError, match=r"each run is compared once: `.*seed1` is given twice"):
        compare_runs([runs[0], runs[1], runs[0].parent / "seed2" / ".." / "seed1"], console=QUIET)


def test_compare_tells_which_run_is_not_finished(runs, monkeypatch):
    read = json.loads((runs[0] / "run.json").read_text()) | {"status": "interrupted"}
    monkeypatch.setattr("training.run_folder.RunFolder.read_info", lambda folder: read)
    file = io.StringIO()
    compare_runs(runs, console=Console(file=file, width=200))
    assert "seed1 is interrupted at step 8" in file.getvalue()


def test_compare_runs_on_rows_draws_no_images(vectors, make_config, tmp_path):
    other = tmp_path / "other"
    config = make_config(
        data={"name": "linear-gaussian"},
        model={"latent_dim": 3},
        objective={"likelihood": "gaussian"},
    )
    start_run(config, other, console=QUIET)
    compare_runs([vectors, other], out=tmp_path / "out", console=QUIET)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.json",
        "matches.png",
    ]


def test_tables_keep_brackets_in_the_names_of_runs_and_factors():
    run = {"run": "runs/[a]", "seed": 1, "n_relevant": 1, "latent_dim": 2, "udr": 0.5}
    found = Found(((0, 0),), (1,), float("nan"), "age [years]", 0.5)
    comparison = Comparison([None], [found], udr=None, factor_names=["age [years]"])
    console = Console(file=io.StringIO(), width=120)
    console.print(runs_table({"runs": [run]}))
    console.print(clusters_table(comparison))
    for name in ("runs/[a]", "age [years]"):
        assert name in console.file.getvalue()


def test_compare_on_the_command_line_needs_a_folder_of_a_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path / "no"), str(tmp_path / "nothing")])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "is not a run folder" in error
    assert error.count("\n") == 1
