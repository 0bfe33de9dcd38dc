"""`rfvae-serve encode` as people type it."""

import csv
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from service.bulk.command import LineProgress
from service.cli import app
from tests.service.conftest import SIZE, Pixels, as_file
from tests.service.process import COMMAND, environment
from tests.service.tiny_rows import RowWeights, write_tiny_rows


def _encode(repository: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "encode", *map(str, arguments), "--models", str(repository)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False
    )


def test_encode_writes_a_table_and_says_so(repository: Path, npy: Path, tmp_path: Path) -> None:
    done = _encode(repository, npy, "--out", tmp_path / "factors.parquet")

    assert (done.returncode, done.stderr) == (0, "")
    assert "factors.parquet: 150 images, 8 columns, by `tiny` version 1, " in done.stdout


def test_encode_keeps_a_row_for_a_damaged_image(
    repository: Path, tmp_path: Path, pictures: Pixels
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.png").write_bytes(as_file(pictures[0]))
    (scans / "b.png").write_bytes(b"nothing")
    out = tmp_path / "factors.csv"

    done = _encode(repository, scans, "--out", out, "--skip-damaged")

    rows = list(csv.reader(out.read_text().splitlines()))
    assert done.returncode == 0
    assert rows[1][0] == "a.png"
    assert rows[2] == ["b.png", *[""] * 7]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nowhere.npy", "--out", "t.csv"], 1, "error: `nowhere.npy` does not exist; name a"),
        (["{npy}", "--out", "t.txt"], 1, "error: `--out` must end in .csv or .parquet; got"),
        (["{npy}", "--out", "/proc/t.csv"], 1, "error: `/proc/.t.csv.parts` cannot be read or wr"),
        (["{npy}", "--out", "t.csv", "--model", "oval"], 1, "error: `model` must be one of `tiny`"),
        (["{npy}", "--out", "t.csv", "--version", "9"], 1, "error: `version` of model `tiny` must"),
        (["{npy}", "--out", "t.csv", "--device", "tpu"], 2, "error: Setting `device`: input"),
    ],
)
def test_encode_refuses_in_one_line(
    repository: Path,
    npy: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(npy.parent)
    filled = [argument.format(npy=npy) for argument in arguments]

    result = CliRunner().invoke(app, ["encode", *filled, "--models", str(repository)])

    assert result.exit_code == code
    assert result.stderr.startswith(text)
    assert result.stderr.count("\n") == 1


def test_encode_that_is_refused_leaves_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    arguments = ["nowhere.npy", "--out", "new/t.csv", "--models", str(repository)]

    result = CliRunner().invoke(app, ["encode", *arguments])

    assert result.exit_code == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_encode_takes_names_that_are_not_utf8(
    repository: Path, tmp_path: Path, pictures: Pixels, suffix: str
) -> None:
    scans = tmp_path / os.fsdecode(b"stra\xdfe")
    scans.mkdir()
    (scans / os.fsdecode(b"caf\xe9.png")).write_bytes(as_file(pictures[0]))
    out = tmp_path / f"factors{suffix}"

    result = CliRunner().invoke(
        app, ["encode", os.fspath(scans), "--out", str(out), "--models", str(repository)]
    )

    assert (result.exit_code, result.stderr) == (0, "")
    if suffix == ".csv":
        table = list(csv.DictReader(out.read_text().splitlines()))
    else:
        table = pq.read_table(out).to_pylist()
    assert [row["id"] for row in table] == ["caf\\xe9.png"]


def test_encode_names_a_damaged_file_whose_name_is_not_utf8(
    repository: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / os.fsdecode(b"caf\xe9.png")).write_bytes(b"nothing")
    arguments = ["--out", str(tmp_path / "t.csv"), "--models", str(repository)]

    result = CliRunner().invoke(app, ["encode", str(scans), *arguments])

    assert result.exit_code == 1
    assert result.stderr.startswith("error: `caf\\xe9.png`: ")
    assert result.stderr.count("\n") == 1


@contextmanager
def _running(repository: Path, source: Path, out: Path) -> "Iterator[subprocess.Popen[str]]":
    """A run that has written its first part."""
    command = [*COMMAND, "encode", source, "--out", out, "--models", repository]
    running = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        while not (out.parent / f".{out.name}.parts/part-000000{out.suffix}").exists():
            assert running.poll() is None
        yield running
    finally:
        running.kill()
        running.communicate()


def test_encode_says_how_to_go_on_when_it_is_interrupted(repository: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.npy"
    np.lib.format.open_memmap(many, "w+", np.uint8, (2_000_000, SIZE, SIZE)).flush()

    with _running(repository, many, tmp_path / "t.csv") as running:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)

    assert running.returncode == 130
    assert errors.splitlines()[-1] == "stopped; the same command goes on from here"


def test_encode_that_was_killed_goes_on_to_the_same_bytes(repository: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.npy"
    images = np.random.default_rng(0).integers(0, 256, (24_000, SIZE, SIZE), dtype=np.uint8)
    np.save(many, images)
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"

    assert _encode(repository, many, "--out", whole).returncode == 0
    with _running(repository, many, killed) as running:
        running.kill()
    again = _encode(repository, many, "--out", killed)

    assert again.stderr.startswith("going on: ")
    assert ", 8 columns, by `tiny` version 1" in again.stdout
    assert killed.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {many.name, whole.name, killed.name}


def test_lines_say_how_far_it_is_every_ten_seconds() -> None:
    lines: list[str] = []
    clock = iter([0.0, 5.0, 10.0])
    progress = LineProgress(lines.append, clock=lambda: next(clock))

    progress.start(total=1000, done=100)
    progress.advance(50)
    progress.advance(50)

    assert lines == [
        "going on: 100 of 1000 images are done",
        "200 of 1000 images, 10 images/s, 80 s left",
    ]


@pytest.fixture
def row_models(tmp_path: Path) -> Path:
    return write_tiny_rows(tmp_path / "row-models")


def test_encode_takes_rows_for_a_model_of_rows(row_models: Path, tmp_path: Path) -> None:
    rows = RowWeights().golden()["image"]  # (4, 3)
    people = tmp_path / "people.csv"
    lines = [f"{row[2]},p{number},{row[0]},{row[1]}" for number, row in enumerate(rows.tolist())]
    people.write_text("\n".join(["age,patient,height,weight", *lines]))
    out = tmp_path / "factors.csv"

    done = _encode(row_models, people, "--out", out, "--id-column", "patient")

    assert (done.returncode, done.stderr) == (0, "")
    assert "factors.csv: 4 rows, 8 columns, by `rows` version 1, " in done.stdout
    table = list(csv.reader(out.read_text().splitlines()))
    assert [line[0] for line in table[1:]] == ["p0", "p1", "p2", "p3"]
    mu, logvar = RowWeights().encode(rows)
    found = np.array([line[1:] for line in table[1:]], float)
    np.testing.assert_allclose(found[:, [0, 3]], mu[:, [2, 0]], rtol=1e-3, atol=1e-4)
    sigma = np.exp(logvar[:, [2, 0]] / 2)
    np.testing.assert_allclose(found[:, [1, 4]], sigma, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", ["1e38", "old"])
def test_encode_leaves_out_the_numbers_of_rows_without_sense_when_it_may(
    row_models: Path, tmp_path: Path, cell: str
) -> None:
    people = tmp_path / "people.csv"
    people.write_text(f"height,weight,age\n170,70,40\n170,70,{cell}\n")
    out = tmp_path / "factors.csv"
    arguments = ["encode", *map(str, (people, "--out", out, "--models", row_models))]

    refused = CliRunner().invoke(app, arguments)
    taken = CliRunner().invoke(app, [*arguments, "--skip-damaged"])

    assert (refused.exit_code, taken.exit_code) == (1, 0)
    assert refused.stderr.startswith("error: row `1`")
    assert refused.stderr.endswith("or pass --skip-damaged\n")
    first, second = list(csv.reader(out.read_text().splitlines()))[1:]
    assert "" not in first
    assert second == ["1", *[""] * 7]


def test_encode_takes_ids_only_from_a_table(repository: Path, npy: Path) -> None:
    arguments = ["--out", "t.csv", "--id-column", "name", "--models", str(repository)]

    result = CliRunner().invoke(app, ["encode", str(npy), *arguments])

    assert result.exit_code == 1
    assert result.stderr == (
        "error: `--id-column` names a column of a .csv or .parquet file; got `images.npy`\n"
    )
