"""Columns, parts and the table that they become."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.bulk.tables import Rows, join_parts, number_columns, table_format, write_part
from service.errors import InvalidValue

COLUMNS = ["x", "novelty"]


def _rows(first: int) -> Rows:
    numbers = np.array([[0.1, 50], [np.nan, np.nan]], np.float32)
    return Rows([str(first), f'a "{first}", b'], numbers)


def _joined(folder: Path, ending: str) -> Path:
    parts = [folder / f"{number}{ending}" for number in range(2)]
    for number, part in enumerate(parts):
        write_part(part, _rows(number), COLUMNS)
    join_parts(parts, folder / f"table{ending}", COLUMNS)
    return folder / f"table{ending}"


def test_columns_are_value_sigma_and_percentile_of_each_factor_then_novelty() -> None:
    assert number_columns(["x position", "scale"], [2, 0]) == [
        *("x_position", "x_position_sigma", "x_position_percentile"),
        *("scale", "scale_sigma", "scale_percentile"),
        "novelty",
    ]


def test_columns_never_have_the_same_name() -> None:
    columns = number_columns(["id", "x", "x", "novelty"], [0, 1, 2, 3])

    assert columns[::3] == ["id_0", "x", "x_2", "novelty_3", "novelty"]


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["a_sigma", "a"], ["a_sigma", "a_0"]),
        (["a", "a_sigma"], ["a", "a_sigma_0"]),
        (["a_percentile", "a"], ["a_percentile", "a_0"]),
        (["a_0", "a_sigma", "a"], ["a_0", "a_sigma", "a_0_0"]),
    ],
)
def test_columns_of_one_factor_never_have_the_names_of_another_ones(
    names: list[str], columns: list[str]
) -> None:
    dims = list(reversed(range(len(names))))

    found = number_columns(names, dims)

    assert found[:-1:3] == columns
    assert len({"id", *found}) == 2 + 3 * len(names)


def test_csv_quotes_ids_and_leaves_missing_numbers_empty(tmp_path: Path) -> None:
    text = _joined(tmp_path, ".csv").read_text()

    assert text == ('id,x,novelty\n0,0.1,50\n"a ""0"", b",,\n1,0.1,50\n"a ""1"", b",,\n')


@pytest.mark.parametrize("name", ["a\rb.png", "a\r\nb.png", "a\nb.png", 'a",b.png', " a.png "])
def test_csv_gives_back_every_id(tmp_path: Path, name: str) -> None:
    part, table = tmp_path / "0.csv", tmp_path / "table.csv"
    write_part(part, Rows([name, "b"], np.zeros((2, 2), np.float32)), COLUMNS)
    join_parts([part], table, COLUMNS)

    with table.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["id", *COLUMNS], [name, "0", "0"], ["b", "0", "0"]]


def test_parquet_keeps_order_and_types_and_says_null_for_missing_numbers(tmp_path: Path) -> None:
    table = pq.read_table(_joined(tmp_path, ".parquet"))

    assert table.column_names == ["id", *COLUMNS]
    assert table["id"].to_pylist() == ["0", 'a "0", b', "1", 'a "1", b']
    assert table["novelty"].to_pylist() == [50, None, 50, None]
    assert str(table.schema.field("x").type) == "float"


def test_nothing_but_the_table_is_left_beside_it(tmp_path: Path) -> None:
    _joined(tmp_path, ".csv")

    assert {path.name for path in tmp_path.iterdir()} == {"0.csv", "1.csv", "table.csv"}


def test_another_ending_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"must end in \.csv or \.parquet; got `table\.xlsx`"):
        table_format(Path("table.xlsx"))
