"""What may change when a run goes on, what may not, and what becomes of the images' place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.test_cli import call, same_tensors, steps_in
from training.checkpoint import read_checkpoint, write_checkpoint
from training.config import Config
from training.config_file import config_toml, load_config

MakeConfig = Callable[..., Config]
CHECKPOINT = "checkpoint.safetensors"


@pytest.fixture
def started(config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run of six steps."""
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out, "--steps", 6) == 0
    capsys.readouterr()
    return out


def test_resume_changes_how_a_run_goes_on_and_keeps_what_it_computes(
    started: Path, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("--set", "run.log_every=1", "--set", "run.checkpoint_minutes=9")
    assert call("resume", started, "--steps", 9, *changes) == 0
    output = capsys.readouterr().out
    assert "Changed: run.log_every from 3 to 1\n" in output
    assert "warning" not in output
    assert steps_in(started) == [3, 6, 7, 8, 9]
    assert call("run", config_file, "--out", tmp_path / "whole", "--steps", 9) == 0
    assert same_tensors(started, tmp_path / "whole")


def test_resume_records_what_changed(started: Path) -> None:
    assert call("resume", started, "--steps", 7, "--set", "run.log_every=1") == 0
    assert call("resume", started, "--set", "run.steps=8") == 0
    assert json.loads((started / "run.json").read_text())["changes"] == [
        {
            "step": 6,
            "settings": {
                "run.steps": {"from": 6, "to": 7},
                "run.log_every": {"from": 3, "to": 1},
            },
        },
        {"step": 7, "settings": {"run.steps": {"from": 7, "to": 8}}},
    ]
    written = load_config(started / "config.toml")
    assert (written.run.steps, written.run.log_every) == (8, 1)
    assert read_checkpoint(started / CHECKPOINT).config == written


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["run.batch_size=8"], "began with: got `run.batch_size` = 8, and it began with 4; `data."),
        (["objective.tc_weight=5.5"], "got `objective.tc_weight` = 5.5, and it began with 5.0"),
        (["run.treads=2"], "unknown key `run.treads`; did you mean `threads`?"),
        (["run.threads=-1"], "`run.threads`: input should be greater than or equal to 0: got -1"),
    ],
)
def test_resume_refuses_other_mathematics(
    started: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    before = {path: path.read_bytes() for path in started.iterdir()}
    changes = [word for option in options for word in ("--set", option)]
    assert call("resume", started, "--steps", 7, *changes) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in started.iterdir()} == before


def test_resume_takes_a_setting_that_is_as_it_was(started: Path) -> None:
    assert call("resume", started, "--steps", 7, "--set", "run.batch_size=4") == 0


def test_edited_configuration_comes_with_the_way_to_change_it(
    started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = started / "config.toml"
    written.write_text(written.read_text().replace("log_every = 3", "log_every = 2"))
    assert call("resume", started, "--steps", 7) == 0
    cure = f"to change it: rfvae-train resume {started} --set run.log_every=…"
    assert cure in capsys.readouterr().out


def test_run_goes_on_with_images_that_were_moved(
    tmp_path: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, moved, out = tmp_path / "rows.npy", tmp_path / "moved.npy", tmp_path / "run"
    np.save(rows, np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32))
    config = make_config(
        data={"name": "vectors", "path": str(rows)}, objective={"likelihood": "gaussian"}
    )
    (tmp_path / "tiny.toml").write_text(config_toml(config))
    assert call("run", tmp_path / "tiny.toml", "--out", out, "--steps", 1) == 0
    shutil.copy(rows, moved)
    assert call("resume", out, "--steps", 2, "--set", f"data.path={moved}") == 0
    assert json.loads((out / "run.json").read_text())["data_paths"] == {"path": str(moved)}
    rows.unlink()
    assert call("resume", out, "--steps", 3) == 0
    np.save(moved, np.ones((40, 5), np.float32))
    assert call("resume", out, "--steps", 4, "--set", f"data.path={moved}") == 1
    assert "a run needs the images it was trained on" in capsys.readouterr().err


def test_run_that_is_over_is_told_where_its_data_has_moved(
    tmp_path: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its factors, which moved as well, and looked at after each step."""
    rng = np.random.default_rng(1)
    there, moved, out = tmp_path / "there", tmp_path / "moved", tmp_path / "run"
    there.mkdir()
    np.save(there / "rows.npy", rng.normal(size=(400, 5)).astype(np.float32))
    np.savetxt(there / "ages.csv", rng.integers(0, 5, (400, 1)), header="age", comments="")
    config = make_config(
        data={
            "name": "vectors",
            "path": str(there / "rows.npy"),
            "factors": str(there / "ages.csv"),
        },
        objective={"likelihood": "gaussian"},
    )
    (tmp_path / "tiny.toml").write_text(config_toml(config))
    assert call("run", tmp_path / "tiny.toml", "--out", out, "--steps", 1) == 0
    before = read_checkpoint(out / CHECKPOINT)

    there.rename(moved)
    assert call("report", out) == 1
    assert "say where it is: rfvae-train resume RUN --set data.path=" in capsys.readouterr().err
    paths = f"data.path={moved / 'rows.npy'}", f"data.factors={moved / 'ages.csv'}"
    assert call("resume", out, "--set", paths[0]) == 1
    assert "say where it is: rfvae-train resume RUN --set data.factors=" in capsys.readouterr().err
    assert call("resume", out, "--set", paths[0], "--set", paths[1]) == 0
    assert call("report", out) == 0
    assert call("evaluate", out, "--votes", 20) == 0

    after = read_checkpoint(out / CHECKPOINT)
    assert after.step == before.step == 1
    assert all(torch.equal(after.tensors[name], one) for name, one in before.tensors.items())
    np.save(moved / "rows.npy", np.ones((400, 5), np.float32))
    assert call("resume", out, "--set", paths[0], "--set", paths[1]) == 1
    assert "a run needs the images it was trained on" in capsys.readouterr().err


def test_run_goes_on_where_random_numbers_are_others(
    started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from a GPU, whose generators have a state of another size."""
    path = started / CHECKPOINT
    checkpoint = read_checkpoint(path)
    streams = [name for name in checkpoint.tensors if name.startswith("generator.")]
    others = {name: torch.zeros(16, dtype=torch.uint8) for name in streams}
    write_checkpoint(
        path,
        checkpoint.tensors | others,
        config=checkpoint.config,
        step=checkpoint.step,
        image_shape=checkpoint.image_shape,
    )
    info = json.loads((started / "run.json").read_text())
    (started / "run.json").write_text(json.dumps(info | {"device": "cuda"}))
    assert call("resume", started, "--steps", 7) == 0
    assert "warning: the run computed on cuda and goes on on cpu" in capsys.readouterr().out
    states = [read_checkpoint(path).tensors[name] for name in streams]
    assert len({bytes(state.numpy()) for state in states}) == len(streams)
