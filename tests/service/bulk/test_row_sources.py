"""Every form of a table of numbers gives the same rows in a fixed order."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.bulk.row_sources import RowReading, open_rows
from service.errors import InvalidValue, MalformedInput

COLUMNS = ("height", "weight", "age")
READING = RowReading(COLUMNS)
TABLE = np.arange(21, dtype=np.float64).reshape(7, 3) / 2  # exact in float32
PATIENTS = [f"p{number}" for number in range(7)]


def _npy(path: Path, table: np.ndarray = TABLE) -> Path:
    np.save(path.with_suffix(".npy"), table)
    return path.with_suffix(".npy")


def _parquet(path: Path, table: np.ndarray = TABLE) -> Path:
    named = dict(zip(COLUMNS, table.T.tolist(), strict=True))
    columns = {"patient": PATIENTS, **{name: named[name] for name in reversed(COLUMNS)}}
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"), row_group_size=3)
    return path.with_suffix(".parquet")


def _csv(path: Path, table: np.ndarray = TABLE) -> Path:
    lines = [",".join(map(str, row)) for row in table.tolist()]
    named = [f"{patient},{line}" for patient, line in zip(PATIENTS, lines, strict=True)]
    path.with_suffix(".csv").write_text("\n".join(["patient,height,weight,age", *named]))
    return path.with_suffix(".csv")


FORMS = pytest.mark.parametrize("write", [_npy, _parquet, _csv])


@FORMS
@pytest.mark.parametrize(("start", "stop"), [(0, 7), (2, 4), (3, 6), (6, 7)])
def test_rows_are_read_in_the_models_order(
    tmp_path: Path, write: Callable[[Path], Path], start: int, stop: int
) -> None:
    source = open_rows(write(tmp_path / "rows"), READING)
    chunk = source.read(start, stop)

    assert len(source) == 7
    assert source.row_bytes == 12
    assert chunk.ids == [str(row) for row in range(start, stop)]
    assert chunk.images.dtype == np.float32
    assert (chunk.images == TABLE[start:stop]).all()
    assert not chunk.damaged.any()


@pytest.mark.parametrize("write", [_parquet, _csv])
def test_rows_have_the_ids_of_a_column(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = open_rows(write(tmp_path / "rows"), replace(READING, id_column="patient"))

    assert source.read(2, 5).ids == ["p2", "p3", "p4"]


def test_ids_may_be_a_column_of_the_model(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "rows")
    chunk = open_rows(path, replace(READING, id_column="age")).read(0, 2)

    assert chunk.ids == ["1.0", "2.5"]
    assert (chunk.images == TABLE[:2]).all()


@FORMS
def test_cell_that_is_no_number_is_named(tmp_path: Path, write: Callable[..., Path]) -> None:
    table = TABLE.copy()
    table[4, 1] = np.nan
    source = open_rows(write(tmp_path / "rows", table), READING)

    with pytest.raises(InvalidValue) as raised:
        source.read(3, 6)
    assert raised.value.detail == (
        "row `4`, column `weight`: must be a finite float32 number; got text, nothing or NaN; "
        "correct it, or pass --skip-damaged"
    )


@FORMS
def test_row_with_a_cell_beyond_float32_is_marked_when_it_may_be_skipped(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    table = TABLE.copy()
    table[4, 1] = 1e39
    source = open_rows(write(tmp_path / "rows", table), replace(READING, skip_damaged=True))
    chunk = source.read(3, 6)

    assert chunk.damaged.tolist() == [False, True, False]
    assert chunk.images[1].tolist() == [0, 0, 0]
    assert (chunk.images[[0, 2]] == TABLE[[3, 5]]).all()


@FORMS
def test_rows_fingerprint_changes_with_the_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    before = open_rows(write(tmp_path / "rows"), READING).fingerprint()

    assert open_rows(write(tmp_path / "rows", TABLE * 1.25), READING).fingerprint() != before


def test_nulls_and_integers_of_parquet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"height": [1, None], "weight": [2, 3], "age": [4, 5]}), path)
    chunk = open_rows(path, replace(READING, skip_damaged=True)).read(0, 2)

    assert chunk.damaged.tolist() == [False, True]
    assert chunk.images[0].tolist() == [1, 2, 4]


def test_parquet_column_of_text_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"height": [1], "weight": [2], "age": ["old"]}), path)

    with pytest.raises(
        InvalidValue, match=r"column `age` of `rows\.parquet` must hold numbers; it"
    ):
        open_rows(path, READING)


def test_parquet_without_a_column_says_which_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"height": [1], "mass": [2]}), path)

    with pytest.raises(InvalidValue, match="one column `weight`; it has `height`, `mass`; rename"):
        open_rows(path, READING)


def test_parquet_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "rows")
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)  # of the column that was written first
    path.write_bytes(content)

    with pytest.raises(MalformedInput, match=r"rows\.parquet` is damaged: "):
        open_rows(path, replace(READING, id_column="patient")).read(0, 3)


@pytest.mark.parametrize(
    ("table", "got"),
    [
        (np.zeros((3, 2)), r"got float64 of shape \(3, 2\)"),
        (np.zeros(3), r"got float64 of shape \(3,\)"),
        (np.zeros((0, 3)), r"got float64 of shape \(0, 3\)"),
        (np.array([["a", "b", "c"]]), r"got <U1 of shape \(1, 3\)"),
        (np.array(3.0), r"got float64 of shape \(\)"),
    ],
)
def test_npy_of_another_shape_is_refused_at_once(
    tmp_path: Path, table: np.ndarray, got: str
) -> None:
    with pytest.raises(InvalidValue, match=rf"shape \(n, 3\), a column each for `height`.*; {got}"):
        open_rows(_npy(tmp_path / "rows", table), READING)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere.csv", "`.*nowhere.csv` does not exist; name a .csv, .npy or .parquet file"),
        ("notes.txt", "this model takes rows of numbers: the input must be a .csv, .npy or .pa"),
        (".", "this model takes rows of numbers: "),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        open_rows(tmp_path / name, READING)
