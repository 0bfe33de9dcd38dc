import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from onnx_export.errors import ExportError
from onnx_export.trained_run import TrainedRun, doubts, read_run
from training.errors import RunError


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_read_run_gives_the_model_and_what_is_known_of_it(run: TrainedRun) -> None:
    assert run.vae.image_shape == (1, 32, 32)
    assert not run.vae.training
    assert run.report["relevant_dims"] == [3, 1]
    assert run.evaluation is not None
    assert run.info["status"] == "finished"


def test_read_run_without_report_says_which_command_to_run(copy: Path) -> None:
    (copy / "report.json").unlink()
    message = f"is missing; run `rfvae-train report {copy}` first"
    with pytest.raises(ExportError, match=re.escape(message)):
        read_run(copy)


def test_read_run_goes_without_evaluation(copy: Path) -> None:
    (copy / "evaluation.json").unlink()
    assert read_run(copy).evaluation is None


def test_read_run_refuses_a_later_report(copy: Path) -> None:
    edit(copy / "report.json", format_version=2)
    message = re.escape("`report.json` must have format 1: got 2; run")
    with pytest.raises(ExportError, match=message):
        read_run(copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "must be JSON: "), ("[]", "must be a JSON object: got list")],
)
def test_read_run_refuses_a_broken_file(copy: Path, content: str, message: str) -> None:
    (copy / "evaluation.json").write_text(content)
    with pytest.raises(ExportError, match=f"`{copy}/evaluation.json` {message}"):
        read_run(copy)


def test_read_run_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        read_run(tmp_path)


def test_doubts_of_a_good_run_are_none(run: TrainedRun) -> None:
    assert doubts(run) == []


def test_doubts_name_an_unfinished_run(copy: Path) -> None:
    edit(copy / "run.json", status="interrupted", steps=100)
    assert doubts(read_run(copy)) == [
        "it is not finished: status `interrupted` at step 2 of 100; go on with "
        f"`rfvae-train resume {copy}`"
    ]


def test_doubts_name_an_old_report(run: TrainedRun) -> None:
    old = replace(run, path=Path("my runs/1"), report={**run.report, "run": {"step": 1}})
    assert doubts(old) == [
        "its report is out of date: `report.json` describes step 1, the checkpoint is at step 2; "
        "run `rfvae-train report 'my runs/1'` again"
    ]


def test_doubts_name_a_report_of_another_run(run: TrainedRun) -> None:
    described = {**run.report.get("run", {}), "step": run.loaded.step, "seed": 7}
    other = replace(run, path=Path("runs/1"), report={**run.report, "run": described})
    assert doubts(other) == [
        "its report is of another run: `report.json` has another `seed` than `run.json`; run "
        "`rfvae-train report runs/1` again"
    ]


def test_doubts_name_an_old_evaluation(run: TrainedRun) -> None:
    old = replace(run, evaluation={"step": 1, "metrics": {}})
    assert doubts(old) == [
        "its evaluation is out of date: `evaluation.json` describes step 1, the checkpoint is at "
        f"step 2; run `rfvae-train evaluate {run.path}` again"
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_doubts_name_the_tensor_that_is_not_finite(copy: Path, value: float) -> None:
    broken = read_run(copy)
    with torch.no_grad():
        broken.vae.get_parameter("decoder.2.bias")[:3] = value
    assert doubts(broken) == [
        "its weights are not finite: 3 of 1024 values of `decoder.2.bias` are NaN or infinite; "
        "train again with a lower `optimizer.learning_rate`"
    ]


def test_doubts_name_a_report_that_is_not_finite(run: TrainedRun) -> None:
    dims = [{**dim, "mean_kl": float("nan")} for dim in run.report["dims"]]
    broken = replace(run, report={**run.report, "dims": dims})
    assert doubts(broken) == ["`report.json` has values that are NaN or infinite; train again"]


def test_doubts_name_a_run_that_found_nothing(run: TrainedRun) -> None:
    found_nothing = replace(run, report={**run.report, "relevant_dims": []})
    assert doubts(found_nothing) == [
        "no dimension is relevant, so there is nothing to serve; train longer, or lower "
        "`objective.kl_weight_max` or `objective.sparsity_weight`"
    ]
