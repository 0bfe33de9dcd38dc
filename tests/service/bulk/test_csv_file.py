"""Columns of a CSV file, by name or in order."""

from pathlib import Path

import numpy as np
import pytest

from service.bulk.csv_file import read_csv
from service.errors import InvalidValue, MalformedInput

COLUMNS = ["height", "weight"]


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "people.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_columns_are_found_by_name_among_others(tmp_path: Path) -> None:
    path = _file(tmp_path, '\ufeffname,weight,height\n"Ann, B.",70,1e2\n\nBo,8.5,3\n')

    ids, table = read_csv(path, COLUMNS, "name")

    assert ids == ["Ann, B.", "Bo"]
    assert table.tolist() == [[100, 70], [3, 8.5]]


def test_csv_without_a_header_holds_the_columns_in_order(tmp_path: Path) -> None:
    ids, table = read_csv(_file(tmp_path, "1,2\n3,4\n"), COLUMNS)

    assert ids == ["0", "1"]
    assert table.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("0,1\n5,6\n", [[5, 6]]),
        ("1,2,0\n5,6,7\n", [[7, 5]]),
        ("0,2\n5,6\n", [[0, 2], [5, 6]]),
    ],
)
def test_csv_line_of_numbers_that_are_the_columns_names_is_a_header(
    tmp_path: Path, content: str, rows: list[list[float]]
) -> None:
    ids, table = read_csv(_file(tmp_path, content), ["0", "1"])

    assert ids == [str(row) for row in range(len(rows))]
    assert table.tolist() == rows


def test_csv_header_of_numbers_names_the_ids_too(tmp_path: Path) -> None:
    ids, table = read_csv(_file(tmp_path, "0,1,2\n5,6,7\n"), ["0", "1"], "2")

    assert (ids, table.tolist()) == (["7"], [[5, 6]])


def test_csv_cells_that_are_no_numbers_are_nan(tmp_path: Path) -> None:
    _, table = read_csv(_file(tmp_path, "height,weight\n1,\nn/a,4\n1_000,2\n"), COLUMNS)

    np.testing.assert_array_equal(table, [[1, np.nan], [np.nan, 4], [np.nan, 2]])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "`people.csv` must hold at least one row; got none"),
        ("height,weight\n", "`people.csv` must hold at least one row; got none"),
        ("height;weight\n1;2\n", "must have one column `height`; its first line is `height;weig"),
        ("height,mass\n1,2\n", "must have one column `weight`; its first line is `height`, `mass`"),
        ("height,weight,weight\n1,2,3\n", "must have one column `weight`; its first line is"),
        ("1,2,3\n", "must begin with a line that names its columns, `height`, `weight` among them"),
    ],
)
def test_csv_that_lacks_something_is_refused(tmp_path: Path, content: str, text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        read_csv(_file(tmp_path, content), COLUMNS)


def test_csv_without_a_header_has_no_ids(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="`height`, `weight`, `name` among them; got 3 numbers"):
        read_csv(_file(tmp_path, "1,2,3\n"), COLUMNS, "name")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"height,weight\n1,2\n3\n", "must have 2 cells in every line, .*; got 1 in line 3"),
        (b"height,weight\n\xff,2\n", "must be a CSV file in UTF-8: 'utf-8' codec can't decode"),
        (b'height,weight\n"' + b"9" * 140_000 + b'",2\n', "UTF-8: field larger than field limit"),
    ],
)
def test_csv_that_is_damaged_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    with pytest.raises(MalformedInput, match=text):
        read_csv(_file(tmp_path, content), COLUMNS)
