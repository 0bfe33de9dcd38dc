"""The results: what run folders become, what is refused, and that the tree holds what is made."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from training.config_file import config_toml, load_config
from training.figures import save_figure, traversals_figure

ROOT = Path(__file__).parents[2]
NAMES = ("scale", "orientation", "x", "y")
# Of the rows whose schedules, those of the optimizer too, begin later.
SLOW = load_config(ROOT / "training" / "configs" / "oval-dsprites-slow-start.toml")
WriteRun = Callable[..., Path]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; what it imports from its own folder is found too."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("results")


@pytest.fixture
def project(results: ModuleType, tmp_path: Path) -> Any:
    """A project with the real configurations and a README that has only the marks."""
    root = tmp_path / "project"
    (root / "docs" / "images").mkdir(parents=True)
    shutil.copytree(ROOT / "training" / "configs", root / "training" / "configs")
    (root / "README.md").write_text(f"above\n{results.BEGIN}\n{results.END}\nbelow\n")
    return results.Project(root)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def write_run(runs: Path) -> WriteRun:
    """Write a run folder of four relevant dimensions; keywords change `run.json`."""

    def write(name: str, seed: int = 1, **changes: Any) -> Path:
        folder = runs / f"{name}-s{seed}"
        (folder / "figures").mkdir(parents=True)
        config = load_config(ROOT / "training" / "configs" / f"{name}.toml", [f"run.seed={seed}"])
        (folder / "config.toml").write_text(config_toml(config))
        info = INFO | {"seed": seed} | changes
        contents = {"run": info, "report": REPORT, "evaluation": EVALUATION}
        for part, content in contents.items():
            (folder / f"{part}.json").write_text(json.dumps(content))
        save_figure(
            traversals_figure(frames(), REPORT["dims"]), folder / "figures" / "traversals.png"
        )
        return folder

    return write


def frames() -> torch.Tensor:
    """Strips of one gray each: 20 %, 40 %, ..."""
    grays = torch.arange(1, 6).view(5, 1, 1, 1, 1) / 5
    return grays.expand(5, 11, 1, 64, 64)


def votes(score: float) -> dict[str, Any]:
    return {"score": score, "ci95": [score - 0.02, score], "dim_factor": [2, 3, 0, 1, -1]}


INFO = {
    "status": "finished",
    "code_version": "0.1",
    "torch_version": "2",
    "data": {"sha256": "0" * 64, "factor_names": NAMES},
    "device": "cpu",
    "machine": "A processor, 1 thread",
    "step": 21_000,
    "steps": 21_000,
    "seconds": 3600.4,
}
DIMS = [
    {
        "dim": dim,
        "mean_kl": 20.0 - 4.999 * dim,
        "relevance": float(dim < 4),
        "relevant": dim < 4,
        "mu_quantiles": {"1": -1.0, "99": 1.0},
    }
    for dim in range(5)
]
REPORT = {
    "run": {"step": 21_000},
    "n_relevant": 4,
    "relevant_dims": [0, 1, 2, 3],
    "dims": DIMS,
    "disagreements": [],
}
EVALUATION = {
    "step": 21_000,
    "factor_names": NAMES,
    "relevant_dims": [0, 1, 2, 3],
    "metrics": {
        "factor_vae_score": {"paper": votes(1.0), "robust": votes(0.999), "relevant": votes(1.0)},
        "one_factor_varied_score": {
            "paper": votes(0.954),
            "robust": votes(0.9),
            "relevant": votes(0.998),
        },
    },
    "further_metrics": {
        "mig": {"score": 0.4},
        "dci_forest": {
            "disentanglement": 0.93,
            "completeness": 0.87,
            "informativeness_nrmse": 0.22,
            "n_images": 245_760,
        },
    },
    "reconstruction": {"nats": 31.26, "squared": 0.002},
}


def lines_of(project: Any, start: str) -> list[str]:
    return [line for line in project.readme.read_text().splitlines() if line.startswith(start)]


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_tree_holds_what_is_made_from_its_json_files(results: ModuleType) -> None:
    figure, tree = importlib.import_module("results_figure"), results.Project(ROOT)
    known, stale = results.load(tree.results)
    assert stale == []
    readme = tree.readme.read_text(encoding="utf-8")
    assert results.insert(readme, results.section(tree, known)) == readme
    pictures = sorted(path.stem for path in tree.results.glob("*.png"))
    assert tree.page.read_text(encoding="utf-8") == results.page(known, pictures)
    if figure.missing(known, tree.results):
        assert not tree.figure.exists()
    else:
        assert figure.made_from(tree.figure) == figure.source_of(known, tree.results)


def test_methods_on_a_set_share_networks_optimizers_batch_and_steps(results: ModuleType) -> None:
    for data in {row.data for row in results.ROWS}:
        rows = [row for row in results.ROWS if row.data == data and not row.earlier]
        shared = {
            (
                config.data,
                config.model,
                # What a discriminator of the same size sees is part of the recipe.
                config.discriminator.model_copy(update={"standardize": False}),
                config.run.model_copy(update={"seed": 0}),
            )
            for config in (load_config(ROOT / row.config) for row in rows)
        }
        assert len(shared) == 1
        optimizers = {load_config(ROOT / row.config).optimizer for row in rows}
        assert len(optimizers) == 1


def test_slow_start_delays_the_optimizers_schedules_and_changes_nothing_else_of_it() -> None:
    fast = load_config(ROOT / "training" / "configs" / "oval-dsprites-fast-start.toml").optimizer
    assert SLOW.optimizer.betas == fast.betas
    for name in ("learning_rate", "rotation_learning_rate"):
        pairs = zip(getattr(SLOW.optimizer, name), getattr(fast, name), strict=True)
        for (later, rate), (moment, expected) in pairs:
            assert rate == expected
            assert 0 <= later - moment <= 300


def test_run_becomes_a_line_beside_the_published_one(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    write_run("oval-dsprites", 3)
    assert results.update(project, runs) == []
    assert lines_of(project, "| [RF-VAE](training/configs/oval-dsprites.toml)") == [
        "| [RF-VAE](training/configs/oval-dsprites.toml), seed 3 | **4**: x, y, scale, orientation "
        "| 100.0, 95.4 | 99.9, 90.0 | 100.0, 99.8 | .93 / .87 / .22 | .40 | 31.3 "
        "| 21,000, 60 min (a) |",
        "| [RF-VAE](training/configs/oval-dsprites.toml), 2 more seeds | not run |" + "  |" * 7,
    ]
    assert "| *RF-VAE, published* | *4* | *100.0, 95.4* |" in project.readme.read_text()
    assert "Machines: (a) A processor, 1 thread." in project.readme.read_text()
    page = project.page.read_text()
    assert "| oval-dsprites, seed 3 | 100.0 (98.0 to 100.0) | 99.9 (97.9 to 99.9) |" in page
    assert "| oval-dsprites, seed 3 | 2 | scale | 1.00 | 10.00 |" in page
    assert (
        "![What sweeping each dimension does](../benchmarks/results/oval-dsprites-s3.png)" in page
    )


def test_earlier_runs_fold_away_below_the_others(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    write_run("oval-dsprites-fast-start", 3)
    write_run("oval-vae")
    assert results.update(project, runs) == []
    readme = project.readme.read_text()
    above, _, below = readme.partition("<details><summary>Oval-dSprites, as it was run before")
    folded, _, _ = below.partition("</details>")
    assert (
        "| [RF-VAE, fast start](training/configs/oval-dsprites-fast-start.toml), seed 3 |" in folded
    )
    assert "fast start]" not in above
    assert "| [VAE](training/configs/oval-vae.toml), seed 1 |" in above
    assert "| oval-dsprites-fast-start, seed 3 |" in project.page.read_text()


def test_dci_over_few_images_is_marked(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    folder = write_run("oval-dsprites", 3)
    scores = EVALUATION["further_metrics"]
    few = {**scores, "dci_forest": {**scores["dci_forest"], "n_images": 10_000}}
    change(folder / "evaluation.json", further_metrics=few)
    assert results.update(project, runs) == []
    (line, _) = lines_of(project, "| [RF-VAE](training/configs/oval-dsprites.toml)")
    assert "| .93 / .87 / .22 † |" in line
    assert "| .93 / .87 / .22 † |" in project.page.read_text()


def test_results_are_made_again_without_the_runs(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun, tmp_path: Path
) -> None:
    for name in ("oval-dsprites", "oval-vae", "oval-factor-vae"):
        write_run(name)
    results.update(project, runs)
    paths = (project.readme, project.page, project.figure)
    first = [path.read_bytes() for path in paths]
    assert results.update(project, tmp_path / "nowhere") == []
    assert [path.read_bytes() for path in paths] == first
    assert project.readme.read_text().startswith("above\n")
    assert project.readme.read_text().endswith("\nbelow\n")


@pytest.mark.parametrize(("seeds", "shown"), [((2, 1), 1), ((3, 2), 2)])
def test_comparison_shows_the_lowest_seed_that_was_run(
    results: ModuleType,
    project: Any,
    runs: Path,
    write_run: WriteRun,
    seeds: tuple[int, ...],
    shown: int,
) -> None:
    for seed in seeds:
        write_run("oval-dsprites", seed)
    for name in ("oval-vae", "oval-factor-vae"):
        write_run(name)
    results.update(project, runs)
    assert f"RF-VAE seed {shown})](" in project.readme.read_text()


def test_failed_run_stays_in_the_table(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    folder = write_run("oval-vae", status="failed", step=700, seconds=120)
    (folder / "evaluation.json").unlink()
    assert results.update(project, runs) == []
    assert lines_of(project, "| [VAE]") == [
        "| [VAE](training/configs/oval-vae.toml), seed 1 | failed, not scored |"
        + " - |" * 6
        + " 700 (failed), 2 min (a) |"
    ]


def test_run_without_relevant_dimensions_stays_in_the_table(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    folder = write_run("oval-vae")
    change(folder / "report.json", n_relevant=0, relevant_dims=[])
    change(folder / "evaluation.json", metrics={}, relevant_dims=[])
    assert results.update(project, runs) == []
    (line,) = lines_of(project, "| [VAE]")
    assert "| **0** | -, - | -, - | -, - |" in line
    assert "without a relevant dimension: scale, orientation, x, y." in project.page.read_text()


@pytest.mark.parametrize(
    ("part", "changes", "text"),
    [
        ("run", {"seed": 2}, "must be a run with seed 1: it has seed 2; rename it"),
        ("run", {"status": "running", "step": 9}, "must have ended: it is at step 9 of 21,000"),
        ("report", {"run": {"step": 9}}, "evaluated and reported at its last step, 21,000: it was"),
        ("evaluation", {"further_metrics": {}}, "by this version: there is no 'dci_forest'"),
    ],
)
def test_run_is_left_out_with_a_reason(
    results: ModuleType, project: Any, write_run: WriteRun, *, part: str, changes: Any, text: str
) -> None:
    folder = write_run("oval-vae")
    change(folder / f"{part}.json", **changes)
    (problem,) = results.update(project, folder.parent)
    assert text in str(problem)
    assert "seed 1 |" not in lines_of(project, "| [VAE]")[0]


def test_run_with_other_settings_is_left_out(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    folder = write_run("oval-vae")
    changes = ["objective.tc_weight=3", "run.steps=200", "run.threads=2"]
    config = load_config(ROOT / "training" / "configs" / "oval-vae.toml", changes)
    (folder / "config.toml").write_text(config_toml(config))
    (problem,) = results.update(project, runs)
    assert str(problem) == (
        f"`{folder}` must have the settings of `training/configs/oval-vae.toml`: it differs in "
        "`objective.tc_weight`, `run.steps`; run the row again"
    )


def test_result_of_a_configuration_since_changed_is_left_out(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    write_run("oval-vae")
    results.update(project, runs)
    config = project.root / "training" / "configs" / "oval-vae.toml"
    config.write_text(config.read_text().replace("tc_weight = 0", "tc_weight = 1"))
    (problem,) = results.update(project, runs.parent / "nowhere")
    assert "oval-vae-s1.json` must have the settings of" in str(problem)
    assert lines_of(project, "| [VAE]")[0].count("not run") == 1


def test_command_says_what_was_not_run_and_what_was_left_out(
    results: ModuleType,
    project: Any,
    runs: Path,
    write_run: WriteRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (write_run("oval-vae") / "report.json").unlink()
    write_run("oval-factor-vae", 2)
    assert results.main(["--runs", str(runs), "--root", str(project.root)]) == 0
    printed = capsys.readouterr()
    assert "oval-factor-vae        seeds 2\noval-vae               not run\n" in printed.out
    assert (
        "no comparison.png yet; it needs a scored run of oval-vae, a scored run of oval-dsprites"
        in printed.out
    )
    assert printed.err.startswith("left out: ")
    assert "oval-vae-s1` must hold report.json: it does not; do `rfvae-train report`" in printed.err


def test_command_fails_for_a_run_that_is_another_one(
    results: ModuleType, project: Any, runs: Path, write_run: WriteRun
) -> None:
    change(write_run("oval-vae") / "run.json", seed=2)
    assert results.main(["--runs", str(runs), "--root", str(project.root)]) == 1


def test_readme_without_marks_is_refused(results: ModuleType) -> None:
    with pytest.raises(SystemExit, match="the README must hold the lines `<!-- results"):
        results.insert("nothing", "table")


def test_picture_shows_the_frames_of_the_runs_own_picture(
    results: ModuleType, write_run: WriteRun
) -> None:
    figure = importlib.import_module("results_figure")
    strips = figure.frames_in(write_run("oval-vae") / "figures" / "traversals.png", 4)
    assert [strip.shape for strip in strips] == [(64, 11 * 68 - 4, 3)] * 4
    grays = [np.unique(strip[:, :64]).tolist() for strip in strips]
    assert grays == [[51 * gray] for gray in range(1, 5)]
