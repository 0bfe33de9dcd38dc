"""Some columns of a CSV file in UTF-8, read whole into memory."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.bulk.chunks import numbered
from service.codecs.rows import listed
from service.errors import InvalidValue, MalformedInput

Table = npt.NDArray[np.float64]


def read_csv(
    path: Path, columns: Sequence[str], id_column: str | None = None
) -> tuple[list[str], Table]:
    """Ids, and float64 (n, n_columns) with NaN where a cell is no number.

    A first line that is not all numbers, or has `columns` among them, names the columns, which may
    then come in any order and among others.

    Raises:
        MalformedInput, InvalidValue: it is no CSV file, lacks a column, or has no rows.
    """
    names = [*columns, *([] if id_column is None else [id_column])]
    ids: list[str] = []
    cells = array("d")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _checked(csv.reader(file), path)
            first = next(lines, [])
            if _is_header(first, columns):
                places = _named_places(first, names, path)
            else:
                places = _places_in_order(first, names, path, has_ids=id_column is not None)
                lines = chain([first] if first else [], lines)
            for line in lines:
                cells.extend(_number(line[place]) for place in places[: len(columns)])
                ids.extend(line[place] for place in places[len(columns) :])
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedInput(f"`{path}` must be a CSV file in UTF-8: {error}") from None
    if not cells:
        raise InvalidValue(f"`{path.name}` must hold at least one row; got none")
    table = np.frombuffer(cells).reshape(-1, len(columns))  # (n, n_columns)
    return ids or numbered(0, len(table)), table


def _is_header(first: list[str], columns: Sequence[str]) -> bool:
    """Frames whose columns have no names write their numbers."""
    return set(columns) <= set(first) or any(math.isnan(_number(cell)) for cell in first)


def _named_places(header: list[str], names: Sequence[str], path: Path) -> list[int]:
    for name in names:
        if header.count(name) != 1:
            raise InvalidValue(
                f"`{path.name}` must have one column `{name}`; its first line is "
                f"{listed(header)}; rename its columns as the model's, and name the ids with "
                "--id-column"
            )
    return [header.index(name) for name in names]


def _places_in_order(
    first: list[str], names: Sequence[str], path: Path, *, has_ids: bool
) -> list[int]:
    if first and (has_ids or len(first) != len(names)):
        raise InvalidValue(
            f"`{path.name}` must begin with a line that names its columns, {listed(names)} among "
            f"them; got {len(first)} numbers; without such a line a file holds the model's columns "
            "in their order and nothing else"
        )
    return list(range(len(names)))


def _checked(lines: Any, path: Path) -> Iterator[list[str]]:
    """The lines that are not empty, all as long as the first."""
    width = 0
    for line in lines:
        if not line:
            continue
        width = width or len(line)
        if len(line) != width:
            raise MalformedInput(
                f"`{path.name}` must have {width} cells in every line, as in its first; got "
                f"{len(line)} in line {lines.line_num}"
            )
        yield line


def _number(cell: str) -> float:
    """NaN where it is none, as `1_000`, which is one in Python only."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
