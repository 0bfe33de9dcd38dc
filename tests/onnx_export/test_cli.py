import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import onnx_export.trained_run
from onnx_export.cli import main
from training.errors import ConfigError


def run_cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as raised:
        main([str(argument) for argument in arguments])
    assert isinstance(raised.value.code, int)
    return raised.value.code


@pytest.mark.usefixtures("traced_before")
def test_cli_writes_the_folder_and_says_what_next(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_cli(run_dir, "--to", tmp_path, "--name", "shapes", "--names", "scale=3")

    folder = tmp_path / "shapes" / "1"
    output = capsys.readouterr().out
    assert code == 0
    assert "torch and ONNX Runtime agree" in output
    assert f"Wrote {folder}\n" in output
    assert f"Next: rfvae-serve check {folder}\n" in output
    assert json.loads((folder / "manifest.json").read_text())["dimensions"][3]["name"] == "scale"


def test_cli_without_report_fails_with_one_line(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    (copy / "report.json").unlink()

    assert run_cli(copy, "--to", tmp_path / "repository") == 1
    errors = capsys.readouterr().err
    assert errors.splitlines() == [
        f"error: export needs the relevance report: `{copy}/report.json` is missing; run "
        f"`rfvae-train report {copy}` first"
    ]
    assert not (tmp_path / "repository").exists()


def test_cli_of_a_folder_that_is_no_run_fails_without_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(tmp_path, "--to", tmp_path / "repository") == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: `{tmp_path}` is not a run folder")
    assert "Traceback" not in errors


def test_cli_with_wrong_names_fails(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(run_dir, "--to", tmp_path, "--names", "scale=9") == 1
    assert "dimensions go from 0 to 3: got 9 for `scale`" in capsys.readouterr().err


def test_cli_into_a_file_says_which(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    assert run_cli(run_dir, "--to", tmp_path / "taken") == 1
    assert capsys.readouterr().err == (
        f"error: a model is a folder of a repository: `{tmp_path}/taken` is a file; choose another "
        "`--to` or `--name`, or move it away\n"
    )


@pytest.mark.usefixtures("traced_before")
def test_cli_prints_names_as_they_are(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(run_dir, "--to", tmp_path, "--names", "[/x]=3") == 0
    assert "[/x]" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "--to", "x", "--version", "new"]])
def test_cli_wrong_usage_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(*arguments) == 2
    assert "Usage: rfvae-export" in capsys.readouterr().err


def test_cli_interrupted_exits_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_export.trained_run, "read_run", interrupt)
    assert run_cli(tmp_path, "--to", tmp_path / "repository") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left"), 1, "No space left; make room on the disk"),
        (OSError("broken"), 1, "broken"),
        (
            MemoryError("Unable to allocate 3.00 GiB for an array"),
            1,
            "there is not enough memory: 3.00 GiB more were asked for; end other programs, or "
            "export on a machine with more",
        ),
        (ConfigError("`run.steps` must be a number"), 2, "`run.steps` must be a number"),
    ],
)
def test_cli_says_in_one_line_what_went_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    line: str,
) -> None:
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr(onnx_export.trained_run, "read_run", fail)
    assert run_cli(tmp_path, "--to", tmp_path / "repository") == code
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.usefixtures("traced_before")
def test_cli_in_reduced_precision_prints_cost_and_speed(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(run_dir, "--to", tmp_path, "--precision", "float16", "--name", "half") == 0

    output = capsys.readouterr().out
    assert "Largest change against float32 over 256 images not used to calibrate: z3 by " in output
    assert "Speed here, one thread: encoder " in output


def test_cli_with_an_unknown_precision_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(tmp_path, "--to", tmp_path, "--precision", "int4") == 2
    errors = capsys.readouterr().err
    assert "int4" in errors
    assert "float16" in errors


def test_cli_help_does_not_wait_for_torch() -> None:
    program = "import sys, onnx_export.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_cli_without_torch_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from onnx_export.cli import main; "
        "main(['run', '--to', 'models'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == "error: `torch` is not installed: pip install 'rfvae[cpu,train,export]'\n"
