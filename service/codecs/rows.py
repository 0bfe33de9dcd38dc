"""Rows of numbers, as JSON lists, as JSON objects by column name, or as npy: float32 arrays."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.codecs.npy import read_floats
from service.errors import InvalidValue

Rows = npt.NDArray[np.float32]
Row = Sequence[Any] | dict[str, Any]
NUMBERS: Final = (int, float)
LISTED: Final = 5  # names in a message


def rows_of(rows: Sequence[Row], columns: Sequence[str]) -> Rows:
    """Parsed JSON rows, each a list in the columns' order or an object by their names.

    Returns:
        float32 (n, n_columns), finite.

    Raises:
        InvalidValue: a column is missing or too many, or a cell is no finite float32 number; the
            text names the row, counted from 0, and the column.
    """
    ordered = [_in_order(row, columns, number) for number, row in enumerate(rows)]
    for number, cells in enumerate(ordered):
        for column, cell in zip(columns, cells, strict=True):
            if type(cell) not in NUMBERS:
                raise InvalidValue(
                    f"row {number}, column `{column}`: must be a number; got {_shown(cell)}"
                )
    try:
        table = np.array(ordered, dtype=np.float64)  # (n, n_columns)
    except OverflowError:
        raise InvalidValue("rows must hold float32 numbers; got one of over 308 digits") from None
    return _finite(table, columns)


def read_npy(data: bytes, columns: Sequence[str], *, max_rows: int) -> Rows:
    """float32 or float64 (n, n_columns) in the columns' order, as `numpy.save` writes it.

    Raises:
        MalformedInput, InvalidValue, TooManyRows: as for other npy bodies.
    """
    table = read_floats(data, what="rows", max_rows=max_rows)
    if table.shape[1] != len(columns):
        raise InvalidValue(
            f"a row must have {len(columns)} numbers ({listed(columns)}); got {table.shape[1]}"
        )
    return _finite(table, columns)


def _in_order(row: Row, columns: Sequence[str], number: int) -> Sequence[Any]:
    if not isinstance(row, dict):
        if len(row) != len(columns):
            raise InvalidValue(
                f"row {number} must have {len(columns)} numbers ({listed(columns)}); got {len(row)}"
            )
        return row
    missing = [name for name in columns if name not in row]
    if missing:
        raise InvalidValue(
            f"row {number} must give every column; missing {listed(missing)}{_hint(row, missing)}"
        )
    if len(row) > len(columns):
        extra = [name for name in row if name not in set(columns)]
        raise InvalidValue(
            f"row {number} must hold the columns {listed(columns)} and no others; got "
            f"{listed(extra)} too"
        )
    return [row[name] for name in columns]


def _hint(row: dict[str, Any], missing: Sequence[str]) -> str:
    near = difflib.get_close_matches(missing[0], [*row], n=1, cutoff=0.6)
    return f"; did you mean it by `{near[0][:60]}`?" if near else ""


def _finite(table: npt.NDArray[np.float64], columns: Sequence[str]) -> Rows:
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused below
        rows = np.ascontiguousarray(table, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        number, column = bad[0]
        raise InvalidValue(
            f"row {number}, column `{columns[column]}`: must be a finite float32 number; got "
            f"{table[number, column]:g}"
        )
    return rows


def _shown(cell: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    if cell is None or isinstance(cell, bool):
        return f"`{words[cell]}`"
    if isinstance(cell, str):
        text = " ".join(cell.split())
        return f'the text `"{text[:40]}"`'
    return "a list or an object"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(f"`{name[:60]}`" for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
