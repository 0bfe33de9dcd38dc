"""The commands as a person meets them: output, exit codes, errors, kills and resumes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.cli import main
from training.config import Config
from training.config_file import config_toml

MakeConfig = Callable[..., Config]
STEPS = 40


def call(*arguments: object) -> int:
    """Run the command line in this process; returns its exit code."""
    with pytest.raises(SystemExit) as exit_info:
        main([str(argument) for argument in arguments])
    code = exit_info.value.code
    return code if isinstance(code, int) else 0


def steps_in(run_dir: Path) -> list[int]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def checkpoint_bytes(run_dir: Path) -> bytes:
    return (run_dir / "checkpoint.safetensors").read_bytes()


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`rfvae-train` as a process of its own, past its first log step."""
    command = "from training.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line.startswith("step "):
                break
        else:
            pytest.fail("it ended early: " + "".join(seen))
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Path:
    """A finished run of 40 steps."""
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "tiny.toml").write_text(config_toml(make_config()))
    assert call("run", folder / "tiny.toml", "--out", folder / "run", "--steps", STEPS) == 0
    return folder / "run"


def test_run_says_device_data_and_the_next_command(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Device: CPU, 1 thread (`run.device` asks for it)"
    assert lines[1].startswith("Data: oval-dsprites-32, 245,760 images of 1x32x32, procedural")
    assert lines[2].startswith("step 3/8 · ")
    assert "nats · reconstruction" in lines[2]
    assert lines[-1] == f"Saved in {out}. Next: rfvae-train evaluate {out}"
    assert steps_in(out) == [3, 6, 8]


def test_run_applies_set_steps_and_seed(config_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--steps", 2, "--seed", 9, "--set", "run.log_every=1")
    assert call("run", config_file, "--out", out, *options) == 0
    text = (out / "config.toml").read_text()
    assert "steps = 2\n" in text
    assert "seed = 9\n" in text
    assert steps_in(out) == [1, 2]


def test_run_refuses_a_folder_with_something_in_it(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.txt").write_text("keep me")
    assert call("run", config_file, "--out", out) == 1
    error = capsys.readouterr().err
    assert error == (
        f"error: a run needs a new or empty folder: `{out}` is not empty; choose another --out, "
        f"or go on with it: rfvae-train resume {out}\n"
    )
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--set", "run.stepz=1"], 2, "unknown key `run.stepz`; did you mean `steps`?"),
        (["--steps", "0"], 2, "`run.steps`: input should be greater than 0: got 0"),
        (["--set", "data.name=cars"], 1, "`data.name` must be one of dsprites, oval-dsprites"),
        (["--set", "data.path=none.npz"], 1, "`none.npz` is missing"),
        (["--steps", "many"], 2, "Invalid value for '--steps'"),
    ],
)
def test_run_explains_bad_options_and_leaves_no_folder(
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    text: str,
) -> None:
    assert call("run", config_file, "--out", tmp_path / "run", *options) == code
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a CUDA device")
def test_run_refuses_cuda_where_there_is_none(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", config_file, "--out", tmp_path / "run", "--set", "run.device=cuda") == 2
    assert "PyTorch finds no usable CUDA device" in capsys.readouterr().err


def test_run_stops_when_the_loss_diverges_and_keeps_the_last_good_checkpoint(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    rate = "optimizer.learning_rate=[[4, 0.001], [5, 1e30]]"
    options = ("--set", rate, "--set", "run.checkpoint_minutes=1e-9")
    assert call("run", config_file, "--out", out, *options) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the loss must stay finite: at step ")
    info = json.loads((out / "run.json").read_text())
    assert (info["status"], info["step"]) == ("failed", 5)


def test_run_warns_once_when_every_dimension_closes(
    config_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.diagnosis.GRACE_STEPS", 2)
    out = tmp_path / "run"
    gate = ("--set", "relevance.initial=0.01", "--set", "run.log_every=1")
    assert call("run", config_file, "--out", out, *gate) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning: " in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: every relevance is below 0.5")


@pytest.mark.parametrize("checkpoint_minutes", [1000, 1e-9])
def test_killed_run_resumes_to_the_same_bits(
    tmp_path: Path,
    make_config: MakeConfig,
    unbroken: Path,
    capsys: pytest.CaptureFixture[str],
    checkpoint_minutes: float,
) -> None:
    config, out = tmp_path / "tiny.toml", tmp_path / "run"
    config.write_text(config_toml(make_config()))
    options = ("--steps", STEPS, "--set", f"run.checkpoint_minutes={checkpoint_minutes}")
    with started("run", config, "--out", out, *options) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert call("resume", out) == 0
    assert "Resuming at step" in capsys.readouterr().out
    assert steps_in(out) == steps_in(unbroken)
    assert same_tensors(out, unbroken)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def same_tensors(one: Path, other: Path) -> bool:
    from training.checkpoint import read_checkpoint

    first, second = (
        read_checkpoint(path / "checkpoint.safetensors").tensors for path in (one, other)
    )
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_and_says_how_to_go_on(
    config_file: Path, tmp_path: Path, unbroken: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    with started("run", config_file, "--out", out, "--steps", 10**6) as process:
        process.send_signal(number)
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait() == 130
    assert output.endswith(f"Stopped and saved. Next: rfvae-train resume {out}\n")
    info = json.loads((out / "run.json").read_text())
    assert info["status"] == "interrupted"
    assert info["step"] >= 3
    if info["step"] < STEPS:
        assert call("resume", out, "--steps", STEPS) == 0
        assert same_tensors(out, unbroken)


def test_run_goes_on_where_nobody_reads_what_it_says(config_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started("run", config_file, "--out", out, "--set", "run.log_every=1") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_resume_says_that_it_does_not_read_an_edited_configuration(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out, "--steps", 6) == 0
    written = out / "config.toml"
    written.write_text(written.read_text().replace("log_every = ", "log_every = 1"))
    capsys.readouterr()
    assert call("resume", out, "--steps", 8) == 0
    output = capsys.readouterr().out
    assert f"warning: `{written}` says `run.log_every` = 1" in output
    assert output.count("warning: ") == 1


def test_resume_drops_later_and_half_written_metrics(
    config_file: Path, tmp_path: Path, unbroken: Path
) -> None:
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out, "--steps", 6) == 0
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "loss": 1.0}\n\xff\xfe\n{"step": 12, "lo\xff')
    assert call("resume", out, "--steps", STEPS) == 0
    assert steps_in(out) == steps_in(unbroken)


def test_resume_keeps_every_version_of_the_code_that_trained(
    config_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out, "--steps", 6) == 0
    path = out / "run.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"code_version": "0.0.1+gabc"}))
    for steps in (8, 10):
        assert call("resume", out, "--steps", steps) == 0
    assert json.loads(path.read_text())["code_version"] == f"0.0.1+gabc, {info['code_version']}"


def test_resume_of_a_finished_run_says_that_nothing_is_left(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkpoint_bytes(unbroken)
    assert call("resume", unbroken) == 1
    assert "the run is already at step 40 of 40" in capsys.readouterr().err
    assert checkpoint_bytes(unbroken) == before


def test_resume_refuses_other_images(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out, "--steps", 1) == 0
    info = json.loads((out / "run.json").read_text())
    info["data"]["sha256"] = "0" * 64
    (out / "run.json").write_text(json.dumps(info))
    assert call("resume", out, "--steps", 2) == 1
    assert "SHA-256 000000000000… is recorded" in capsys.readouterr().err


def test_resume_of_a_folder_that_is_no_run_fails_clearly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("resume", tmp_path) == 1
    assert "is not a run folder" in capsys.readouterr().err


def test_resume_of_a_damaged_checkpoint_fails_in_one_line(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call("run", config_file, "--out", out, "--steps", 1) == 0
    checkpoint = out / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint_bytes(out)[:1000])
    assert call("resume", out, "--steps", 2) == 1
    error = capsys.readouterr().err
    assert "is damaged and cannot be read" in error
    assert error.count("\n") == 1


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(20):
        pixels = np.full((32, 32), 255, np.uint8)
        pixels[k : k + 8, 8:24] = 20
        Image.fromarray(pixels).save(folder / f"{k:02}.png")
    return folder


SMALL_RUN = ("--steps", 3, "--set", "run.threads=1", "--set", "run.device=cpu")


def test_run_needs_nothing_but_a_folder_of_images(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my run"  # commands to copy are quoted
    assert call("run", "--data", pictures, "--out", out, *SMALL_RUN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "Found 18 images to train on; they become 32 x 32 pixels, gray, dark"
    )
    assert lines[-1] == f"Saved in {out}. Next: rfvae-train report '{out}'"
    assert call("report", out) == 0
    assert call("resume", out, "--steps", 4) == 0
    assert capsys.readouterr().out.endswith(f"Next: rfvae-train report '{out}'\n")


def test_run_on_a_folder_takes_the_rest_from_a_config(
    tmp_path: Path, pictures: Path, config_file: Path
) -> None:
    out = tmp_path / "run"
    options = ("--set", 'data.name="images"')
    assert call("run", config_file, "--data", pictures, "--out", out, *SMALL_RUN, *options) == 0
    text = (out / "config.toml").read_text()
    assert "latent_dim = 4\n" in text
    assert "channels = 1\n" in text


def test_run_without_config_and_data_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", "--out", tmp_path / "run") == 2
    assert "give a CONFIG file, or --data" in capsys.readouterr().err


def test_run_names_a_broken_picture_and_skips_it_by_choice(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "07.png").write_bytes(b"broken")
    out = tmp_path / "run"
    assert call("run", "--data", pictures, "--out", out, *SMALL_RUN) == 1
    assert "07.png` is broken" in capsys.readouterr().err
    skip = ("--set", "data.on_broken=skip")
    assert call("run", "--data", pictures, "--out", out, *SMALL_RUN, *skip) == 0
    assert "Left out 1 broken files: 07.png" in capsys.readouterr().out


def test_datasets_lists_the_sets_with_their_factors(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("datasets") == 0
    output = capsys.readouterr().out
    assert "dsprites: 737,280 images" in output
    assert "factors: shape 3, scale 6, orientation 40, x 32, y 32" in output
    assert "oval-dsprites: 245,760 images" in output
    assert "linear-gaussian: rows of 16 numbers" in output


def test_datasets_draws_a_sheet_of_one_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sheet.png"
    assert call("datasets", "xy-object", "--size", 32, "--out", path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Drawn: {path}"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--out", "sheet.png"], 2, "a sheet needs the NAME of a set"),
        (["xy-object", "--out", "sheet.doc"], 1, "a sheet is a PNG file: got `sheet.doc`"),
        (["cars"], 1, "got `cars`; choose one of them"),
        (["linear-gaussian", "--out", "sheet.png"], 1, "only images can be drawn"),
        (["xy-object", "--size", "48", "--out", "sheet.png"], 1, "drawn at one of the sizes"),
        (["xy-object", "--size", "0", "--out", "sheet.png"], 2, "Invalid value for '--size'"),
        (["xy-object", "--seed", "-1", "--out", "sheet.png"], 2, "Invalid value for '--seed'"),
    ],
)
def test_datasets_explains_what_it_cannot_draw(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("datasets", *arguments) == code
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "resume", "evaluate", "report", "datasets"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    assert "Usage: rfvae-train" in capsys.readouterr().out


def test_cli_without_torch_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from training.cli import main; main(['datasets'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == "error: `torch` is not installed: pip install 'rfvae[cpu,train]'\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["run", "--steps", "2", "--set", "run.steps=3"], "--steps and --set run.steps"),
        (["run", "--seed", "2", "--set", "run.seed=3"], "--seed and --set run.seed"),
        (["run", "--data", "x", "--set", "data.path=y"], "--data and --set data.path"),
        (["resume", "--steps", "2", "--set", "run.steps=3"], "--steps and --set run.steps"),
    ],
)
def test_setting_given_twice_is_refused(
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    text: str,
) -> None:
    command, *rest = options
    target = (config_file, "--out", tmp_path / "run") if command == "run" else (tmp_path,)
    assert call(command, *target, *rest) == 2
    assert text in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
