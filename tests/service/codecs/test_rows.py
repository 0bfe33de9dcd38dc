"""Rows of numbers in every form; most of what is refused is tested over HTTP in tests/e2e."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.rows import read_npy, rows_of
from service.errors import InvalidValue, TooManyRows

COLUMNS = ("a", "b", "c")
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)


@given(
    st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=5), st.permutations(COLUMNS)
)
def test_lists_and_objects_of_the_same_numbers_are_the_same_rows(
    table: list[tuple[float, float, float]], order: list[str]
) -> None:
    as_lists = rows_of([list(row) for row in table], COLUMNS)
    named = [dict(zip(COLUMNS, row, strict=True)) for row in table]
    as_objects = rows_of([{name: row[name] for name in order} for row in named], COLUMNS)
    assert as_lists.dtype == np.float32
    np.testing.assert_array_equal(as_lists, as_objects)
    np.testing.assert_array_equal(as_lists, np.array(table, np.float64).astype(np.float32))


def test_a_number_of_hundreds_of_digits_is_refused() -> None:
    with pytest.raises(InvalidValue, match="must hold float32 numbers; got one of over 308 digits"):
        rows_of([[1, 2, 10**400]], COLUMNS)


def test_many_columns_are_not_all_listed() -> None:
    columns = [f"column {number}" for number in range(100)]
    with pytest.raises(InvalidValue, match=r"100 numbers \(.*`column 4` and 95 more\); got 1$"):
        rows_of([[1]], columns)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_npy_rows_become_float32(dtype: str) -> None:
    rows = np.arange(6, dtype=dtype).reshape(2, 3)
    read = read_npy(_npy(rows), COLUMNS, max_rows=2)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, rows)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros(3), InvalidValue, r"rows must have the shape \(n, columns\); got \(3,\)"),
        (np.zeros((3, 3)), TooManyRows, "2 rows at most; got 3"),
        (np.full((1, 3), np.inf), InvalidValue, "row 0, column `a`: must be a finite float32"),
        (np.zeros((1, 3), object), Exception, "Python objects"),
    ],
)
def test_npy_that_holds_no_rows_is_refused(array: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        read_npy(_npy(array), COLUMNS, max_rows=2)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()
