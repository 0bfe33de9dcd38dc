"""Kills, full disks, two processes in one folder, data that moved: what is saved stays whole."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from training.checkpoint import read_checkpoint, save_checkpoint
from training.cli import main
from training.config import Config
from training.config_file import config_toml
from training.data import ImageSource, open_images
from training.data.tables import Vectors
from training.errors import DataError, RunError
from training.fit import Hooks, fit, new_state
from training.progress import PlainDisplay
from training.recorder import Recorder
from training.run_folder import RunFolder, write_atomically
from training.run_images import open_run_images
from training.runs import resume_run, start_run

MakeConfig = Callable[..., Config]
QUIET = Console(quiet=True)
INFO = {"seconds": 0.0, "step": 0, "data": {}}


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """No file can grow beyond this size, as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


class Lines(PlainDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def stepped(self, step: int) -> None:
        pass

    def logged(self, record: dict[str, object]) -> None:
        pass


@pytest.fixture
def recorder(tmp_path: Path, make_config: MakeConfig) -> Recorder:
    """Of a run at step 0 with a checkpoint after each step."""
    config = make_config(run={"checkpoint_minutes": 1e-9, "log_every": 1})
    folder, images = RunFolder(tmp_path / "run"), open_images(config.data)
    folder.create()
    state = new_state(config, images.image_shape, device=torch.device("cpu"))
    recorder = Recorder(folder, state, config, Lines(), dict(INFO), images)
    recorder.save(status="running")
    return recorder


def test_full_disk_keeps_the_former_checkpoint_and_the_run_goes_on(recorder: Recorder) -> None:
    path = recorder.folder.checkpoint
    before = path.read_bytes()
    hooks = Hooks(recorder.stepped, recorder.logged, should_stop=lambda: recorder.state.step == 2)
    with full_disk(1000):
        fit(recorder.state, recorder.images, config=recorder.config, hooks=hooks)
    assert path.read_bytes() == before
    assert recorder.folder.read_info()["step"] == 0
    said = recorder.display.said  # type: ignore[attr-defined]
    expected = (
        "warning: cannot save a checkpoint: File too large; the checkpoint of step 0 is whole"
    )
    assert said[-1].startswith(expected)
    hidden = [path.name for path in recorder.folder.path.iterdir() if path.suffix == ".tmp"]
    assert hidden == []
    recorder.save(status="running")
    assert read_checkpoint(path).step == 2


def test_full_disk_at_the_start_is_one_line_and_leaves_the_folder_free(
    tmp_path: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "config.toml", tmp_path / "run"
    config.write_text(config_toml(make_config()))
    with full_disk(5000), pytest.raises(SystemExit) as exit_info:
        main(["run", str(config), "--out", str(out)])
    assert exit_info.value.code == 1
    assert capsys.readouterr().err == (
        f"error: cannot save a checkpoint in `{out}`: File too large; make room, or choose "
        "another folder\n"
    )
    assert start_run(make_config(), out, console=QUIET) == "finished"


def test_run_that_is_stopped_while_its_file_is_hashed_leaves_no_folder(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).normal(size=(40, 5)))
    config = make_config(
        data={"name": "vectors", "path": str(tmp_path / "rows.npy")},
        objective={"likelihood": "gaussian"},
    )

    def interrupted(source: Vectors) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Vectors, "sha256", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_run(config, tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_disk_with_room_for_one_checkpoint_is_refused_at_the_start(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Path] = []

    def save(path: Path, *args: Any, **options: Any) -> None:
        saved.append(path)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_checkpoint(path, *args, **options)

    out = tmp_path / "run"
    monkeypatch.setattr("training.recorder.save_checkpoint", save)
    with pytest.raises(RunError, match=r"cannot save a checkpoint in .*: No space left on device"):
        start_run(make_config(), out, console=QUIET)
    monkeypatch.undo()
    assert start_run(make_config(), out, console=QUIET) == "finished"


def test_full_disk_at_the_end_is_an_error_that_names_the_whole_checkpoint(
    recorder: Recorder,
) -> None:
    with (
        full_disk(1000),
        pytest.raises(RunError, match="cannot save the last checkpoint: File too"),
    ):
        recorder.finish(status="finished")
    assert read_checkpoint(recorder.folder.checkpoint).step == 0


def test_full_disk_leaves_no_half_log_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_metrics({"step": 1})
    with full_disk(folder.metrics.stat().st_size + 3), pytest.raises(OSError, match="too large"):
        folder.append_metrics({"step": 2})
    folder.append_metrics({"step": 3})
    assert folder.metrics.read_text() == '{"step": 1}\n{"step": 3}\n'


def test_write_atomically_leaves_nothing_beside_a_file_that_it_could_not_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with full_disk(10), pytest.raises(OSError, match="too large"):
        write_atomically(path, b"x" * 100)
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("file", "old")]


def test_second_process_in_a_run_folder_is_refused_with_the_first_ones_number(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    out = tmp_path / "run"
    start_run(make_config(), out, console=QUIET)
    expected = f"is in use by process {os.getpid()}; wait for it, or stop it"
    with RunFolder(out).lock(), pytest.raises(RunError, match=expected):
        resume_run(out, steps=9, console=QUIET)
    assert resume_run(out, steps=9, console=QUIET) == "finished"


def test_resume_does_not_undo_what_another_process_did_while_it_read_the_images(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    start_run(make_config(), out, console=QUIET)
    first = read_checkpoint(out / "checkpoint.safetensors").step

    def open_slowly(*arguments: Any, **options: Any) -> ImageSource:
        monkeypatch.undo()
        resume_run(out, steps=first + 3, console=QUIET)  # the other process, from start to end
        return open_images(*arguments, **options)

    monkeypatch.setattr("training.run_images.open_images", open_slowly)
    with pytest.raises(RunError, match=f"from step {first} to {first + 3}, and stopped: rfvae"):
        resume_run(out, steps=first + 9, console=QUIET)
    assert read_checkpoint(out / "checkpoint.safetensors").step == first + 3
    assert RunFolder(out).read_info()["status"] == "finished"


@pytest.mark.parametrize("error", [MemoryError(), FileNotFoundError("gone"), RunError("no")])
def test_run_that_ends_with_any_error_says_so_in_its_folder(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("training.runs.fit", fail)
    with pytest.raises(type(error)):
        start_run(make_config(), tmp_path / "run", console=QUIET)
    assert RunFolder(tmp_path / "run").read_info()["status"] == "failed"


@pytest.mark.parametrize(
    "setting", ["model.hidden_units=10000000000000", "run.batch_size=100000000000000"]
)
def test_more_memory_than_there_is_gives_one_line_and_leaves_no_folder(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        main(["run", str(config_file), "--out", str(out), "--set", setting])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: there is not enough memory: ")
    assert error.endswith(
        " GiB more were asked for; lower `run.batch_size`, `model.hidden_units`, "
        "`model.latent_dim` or `data.size`\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"data": 3}', "{", ""])
def test_run_json_that_describes_no_run_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"is not a run folder: `run.json` cannot be read \("):
        RunFolder(tmp_path).read_info()


def kill_while_it_trains(arguments: list[str], *, after_bytes: int, metrics: Path) -> None:
    """SIGKILL once the log has grown by `after_bytes`, wherever the process is by then."""
    start = metrics.stat().st_size if metrics.exists() else 0
    process = subprocess.Popen(
        [sys.executable, "-c", "from training.cli import main; main()", *arguments],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while process.poll() is None:
            if metrics.exists() and metrics.stat().st_size - start >= after_bytes:
                break
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_kills_at_random_moments_change_no_bit_of_the_result(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    seed = random.SystemRandom().randrange(1000)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    steps = 4000
    config = make_config(run={"steps": steps, "checkpoint_minutes": 1e-9, "log_every": 1})
    (tmp_path / "tiny.toml").write_text(config_toml(config))
    out = tmp_path / "run"
    first = ["run", str(tmp_path / "tiny.toml"), "--out", str(out)]
    for arguments in (first, ["resume", str(out)]):
        after = rng.randrange(1, 3000)
        kill_while_it_trains(arguments, after_bytes=after, metrics=out / "metrics.jsonl")
        assert RunFolder(out).read_info()["status"] == "running"
    reached = read_checkpoint(out / "checkpoint.safetensors").step
    assert 0 <= reached < steps - 2
    resume_run(out, steps=reached + 2, console=QUIET)
    start_run(
        make_config(run={"steps": reached + 2, "log_every": 1}), tmp_path / "whole", console=QUIET
    )
    found, whole = (
        read_checkpoint(folder / "checkpoint.safetensors").tensors
        for folder in (out, tmp_path / "whole")
    )
    assert [name for name in whole if not torch.equal(whole[name], found[name])] == []


def test_relative_data_path_resumes_from_another_folder(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 5)).astype(np.float32)
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    np.save(here / "rows.npy", rows)
    config = make_config(
        data={"name": "vectors", "path": "rows.npy"}, objective={"likelihood": "gaussian"}
    )
    monkeypatch.chdir(here)
    start_run(config, Path("run"), console=QUIET)
    assert 'path = "rows.npy"' in (here / "run" / "config.toml").read_text()
    monkeypatch.chdir(elsewhere)
    assert resume_run(here / "run", steps=9, console=QUIET) == "finished"
    from training.checkpoint import load_model

    assert open_run_images(load_model(here / "run")).n_images == 40
    (here / "rows.npy").unlink()
    with pytest.raises(DataError, match=r"rows\.npy"):
        resume_run(here / "run", steps=10, console=QUIET)
