"""`rfvae-serve bench`: every combination once, a table for people, JSON for programs."""

import json
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.bench import REQUEST_ROWS, bench_lines
from service.cli import app
from service.settings import Settings
from tests.service.tiny_model import write_tiny_repository


def _bench(*options: str) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(app, ["bench", "--seconds", "0.01", *options])
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_bench_measures_every_operation_size_and_lane_setting(repository: Path) -> None:
    code, lines, _ = _bench("--models", str(repository), "--lanes", "1", "--lanes", "2")

    assert code == 0
    assert lines[0].startswith("`tiny` version 1 on CPUExecutionProvider, ")
    assert lines[1].split() == [
        *("operation", "lanes", "threads", "request", "rows", "clients"),
        *("engine", "rows/s", "batcher", "rows/s", "ratio"),
    ]
    report = json.loads(lines[-1])
    assert (report["model"], report["version"]) == ("tiny", 1)
    figures = report["figures"]
    measured = [(one["lanes"], one["operation"], one["request_rows"]) for one in figures]
    assert measured == list(product((1, 2), ("encode", "decode"), REQUEST_ROWS))
    assert all(one["engine_rows_s"] > 0 and one["batcher_rows_s"] > 0 for one in figures)
    assert len(lines) == 2 + len(figures) + 1


def test_bench_measures_a_lane_setting_once(repository: Path) -> None:
    code, lines, _ = _bench("--models", str(repository), "--lanes", "1", "--lanes", "1")

    assert code == 0
    assert len(json.loads(lines[-1])["figures"]) == 2 * len(REQUEST_ROWS)


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--model", "huge"], 1, "error: `model` must be one of `tiny`; got `huge`"),
        (["--version", "9"], 1, "error: `version` of model `tiny` must be one of `1`; got `9`"),
        (["--device", "fpga"], 2, "error: Setting `device`"),
        (["--lanes", "-1"], 2, "than or equal to 0"),
        (["--seconds", "0"], 2, "than or equal to 0.01"),
    ],
)
def test_bench_refuses(repository: Path, options: list[str], code: int, text: str) -> None:
    exit_code, lines, errors = _bench("--models", str(repository), *options)

    assert (exit_code, lines) == (code, [])
    assert text in errors


def test_zero_on_the_command_line_wins_over_the_environment(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RFVAE_THREADS", "2")

    options = ("--models", str(repository), "--lanes", "1")
    _, lines, _ = _bench(*options)
    _, chosen, _ = _bench(*options, "--threads", "0")

    assert {one["threads"] for one in json.loads(lines[-1])["figures"]} == {2}
    assert {one["threads"] for one in json.loads(chosen[-1])["figures"]} == {1}


def test_bench_measures_even_when_it_comes_too_late(repository: Path) -> None:
    settings = Settings(model_repository=(repository,), device="cpu")

    *_, last = bench_lines(settings, None, None, lanes=[1], seconds=0)

    assert all(one["engine_rows_s"] > 0 for one in json.loads(last)["figures"])


def test_bench_needs_a_model(tmp_path: Path) -> None:
    code, _, errors = _bench("--models", str(tmp_path))

    assert code == 1
    assert errors.startswith("error: a repository must hold NAME/VERSION/manifest.json")


def test_bench_takes_the_highest_version(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny_repository(tmp_path, version=version)

    _, lines, _ = _bench("--models", str(tmp_path), "--lanes", "1")

    assert json.loads(lines[-1])["version"] == 2
