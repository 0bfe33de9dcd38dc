"""Tables of numbers: CSV, npy and Parquet files, as data (vectors) or as factors of images."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.data.array_files import open_array, require_file
from training.data.factor_table import FactorTable, factor_table
from training.data.standardization import Standardization, column_names
from training.data.stored_images import hash_files
from training.errors import DataError

VECTOR_SUFFIXES = (".csv", ".npy", ".npz", ".parquet")
FILE_COLUMN = "file"
LEAST_COUNTED = 3  # columns: `0,1` may well be a row of numbers
OTHER_SEPARATORS = (";", "\t", "|")
Cells = list[list[str]]
Standardize = Callable[[tuple[str, ...], NDArray[np.float64]], Standardization]


@dataclass(frozen=True)
class NumberTable:
    """Columns of numbers, (n_rows, n_columns) float64, with their names."""

    columns: tuple[str, ...]
    values: NDArray[np.float64]


def _unchanged(columns: tuple[str, ...], values: NDArray[np.float64]) -> Standardization:
    del values
    return Standardization.none(columns)


class Vectors:
    """A vector source: `images` gives rows (batch, n_columns) of a table.

    Args:
        name: Of the set.
        path: CSV with a header, npy, npz or Parquet.
        key: Array of an npz file.
        columns: The ones to take; all by default.
        standardize: From names and values (n_rows, n_columns) of the columns to what each is
            shifted and divided by.
    """

    source = "file"

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        key: str | None = None,
        columns: Sequence[str] | None = None,
        standardize: Standardize = _unchanged,
    ) -> None:
        self.name = name
        self._path = path
        table = _chosen(_read_numbers(path, key), columns, path=path)
        standardization = standardize(table.columns, table.values)
        self.standardization = standardization
        self._rows = standardization.standardized(table.values)
        self.n_images = len(self._rows)
        self.image_shape = (len(table.columns),)
        self.factors: FactorTable | None = None

    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hash_files([self._path])

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, n_columns) float32."""
        if self._rows.device != indices.device:
            self._rows = self._rows.to(indices.device)
        return self._rows[indices]


def read_factor_table(
    path: Path, *, n_images: int, file_names: Sequence[str] | None = None
) -> FactorTable:
    """Read the factors of images from a CSV file with a header.

    Args:
        path: One row an image, in the images' order; or with a column `file`, in any order.
        n_images: Number of images.
        file_names: Of the images of a folder.

    Returns:
        The table; words in a column become the numbers of their alphabetical order.

    Raises:
        DataError: Rows are missing or too many, or a cell says nothing.
    """
    require_file(path, setting="data.factors")
    header, rows = _read_csv(path)
    if FILE_COLUMN in header and file_names is not None:
        rows = _by_file(rows, header.index(FILE_COLUMN), file_names, path=path)
    if len(rows) != n_images:
        raise DataError(
            f"a table of factors needs one row an image: `{path}` has {len(rows)} rows for "
            f"{n_images} images"
        )
    if FILE_COLUMN not in header and file_names is not None:
        _require_no_names(header, rows, file_names, path=path)
    kept = [k for k, name in enumerate(header) if name != FILE_COLUMN]
    if not kept:
        raise DataError(
            f"a table of factors has a column for each: `{path}` has `{FILE_COLUMN}` only"
        )
    _require_names(header, path=path)
    columns = [_as_factor(header[k], [row[k].strip() for row in rows], path=path) for k in kept]
    return factor_table([header[k] for k in kept], np.stack(columns, axis=1))


def _by_file(rows: Cells, column: int, file_names: Sequence[str], *, path: Path) -> Cells:
    known = {row[column]: row for row in rows}
    if len(known) < len(rows):
        names = [row[column] for row in rows]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"each image has one row of factors: `{path}` has `{twice}` twice")
    missing = [name for name in file_names if name not in known]
    if missing:
        raise DataError(
            f"`{path}` has no row for {len(missing)} images, such as `{missing[0]}`: its column "
            f"`{FILE_COLUMN}` must hold their paths below the folder"
        )
    return [known[name] for name in file_names]


def _require_no_names(
    header: Sequence[str], rows: Cells, file_names: Sequence[str], *, path: Path
) -> None:
    """Rows in another order than the images would be taken for those of others."""
    names = [Path(name) for name in file_names]
    known = {each.name for each in names} | {each.stem for each in names if _is_word(each.stem)}
    for column, name in enumerate(header):
        if any(Path(row[column]).name in known for row in rows):
            raise DataError(
                f"a column that names the images is called `{FILE_COLUMN}`: `{path}` names them in "
                f"`{name}`; rename it, or leave it out where the rows are in the images' order"
            )


def _as_factor(name: str, cells: Sequence[str], *, path: Path) -> NDArray[np.float64]:
    """Numbers, or words as the numbers of their order; one blank must not make words of numbers."""
    values = np.array([_number(cell) for cell in cells])
    if not np.isfinite(values).any() and all(cells):
        return np.unique(np.array(cells), return_inverse=True)[1].astype(np.float64)
    blank = [row for row, cell in enumerate(cells) if not cell]
    bad = [*blank, *np.flatnonzero(~np.isfinite(values)).tolist()]
    if bad:
        shown = f"`{cells[bad[0]]}`" if not blank else "nothing"
        raise DataError(
            f"a factor is all numbers or all words: `{path}` has {shown} for image {bad[0] + 1} in "
            f"column `{name}`; fill it in, or leave out the image or the column"
        )
    return values


def _read_numbers(path: Path, key: str | None) -> NumberTable:
    require_file(path)
    readers: dict[str, Callable[[], NumberTable]] = {
        ".csv": lambda: _from_csv(path),
        ".parquet": lambda: _from_parquet(path),
        ".npy": lambda: _from_array(path, key),
        ".npz": lambda: _from_array(path, key),
    }
    if path.suffix.lower() not in readers:
        raise DataError(
            f"vectors are read from {', '.join(VECTOR_SUFFIXES)} files: got `{path}`; convert it"
        )
    return readers[path.suffix.lower()]()


def _chosen(table: NumberTable, columns: Sequence[str] | None, *, path: Path) -> NumberTable:
    if columns is not None:
        unknown = [name for name in columns if name not in table.columns]
        if unknown:
            raise DataError(
                f"`{path}` has no column `{unknown[0]}`: it has {', '.join(table.columns)}; "
                "change `data.columns`"
            )
        numbers = [table.columns.index(name) for name in columns]
        table = NumberTable(tuple(columns), table.values[:, numbers])
    _require_names(table.columns, path=path)
    if not len(table.values):
        raise DataError(f"`{path}` has no rows: a table of vectors has one row a sample")
    bad = np.argwhere(~np.isfinite(table.values))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"every cell must be a finite number: `{path}` has "
            f"{_shown(table.values[row, column])} in row {row + 1}, column "
            f"`{table.columns[column]}`; fill it in, or choose other columns with `data.columns`"
        )
    return table


def _require_names(columns: Sequence[str], *, path: Path) -> None:
    twice = [name for name in columns if columns.count(name) > 1]
    if twice or "" in columns:
        raise DataError(
            f"columns need names of their own: `{path}` has "
            f"{f'`{twice[0]}` twice' if twice else 'a column without a name'}; change its header"
        )


def _shown(value: float) -> str:
    return "text, or nothing," if math.isnan(value) else f"{value}"


def _from_csv(path: Path) -> NumberTable:
    header, rows = _read_csv(path)
    values = np.array([[_number(cell) for cell in row] for row in rows]).reshape(-1, len(header))
    return NumberTable(tuple(header), values)


def _number(cell: str) -> float:
    # A word is reported with its row and column, if that column is wanted.
    return math.nan if _is_word(cell) else float(cell)


def _is_word(cell: str) -> bool:
    """`nan` is none: it is a number that is missing, which is reported as in any other row.

    `1_000` is one: it is a number in Python only.
    """
    try:
        float(cell)
    except ValueError:
        return True
    return "_" in cell


def _read_csv(path: Path) -> tuple[list[str], Cells]:
    """Header and rows; a first row of numbers is none, and columns are then c0, c1 …

    But 0, 1, 2 … is: what pandas writes for columns without names.
    """
    require_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"`{path}` is no CSV file in UTF-8: {error}") from error
    if not rows:
        raise DataError(f"`{path}` is empty: a CSV file has a header and one row a sample")
    width = len(rows[0])
    other = [mark for mark in OTHER_SEPARATORS if mark in rows[0][0]] if width == 1 else []
    if other:
        raise DataError(
            f"cells are separated by commas, and decimals by points: `{path}` has {other[0]!r} "
            "between its columns; write it anew"
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise DataError(f"`{path}` has {len(row)} cells in line {number}, not {width}")
    counted = width >= LEAST_COUNTED and rows[0] == [str(k) for k in range(width)]
    if counted or any(_is_word(cell) for cell in rows[0]):
        return rows[0], rows[1:]
    return [*column_names(width)], rows


def _from_array(path: Path, key: str | None) -> NumberTable:
    values = np.asarray(open_array(path, key=key)[:])
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise DataError(
            f"vectors are rows of numbers, (n_rows, n_columns): `{path}` holds {values.dtype} of "
            f"shape {values.shape}"
        )
    return NumberTable(column_names(values.shape[1]), values.astype(np.float64))


def _from_parquet(path: Path) -> NumberTable:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise DataError(f"`{path}` needs pyarrow: pip install pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise DataError(
            f"`{path}` cannot be read as Parquet: {str(error).rstrip('.')}; restore it from its "
            "source"
        ) from error
    index = _pandas_index(table.schema)
    kept = [k for k, name in enumerate(table.column_names) if name not in index]
    if not kept:
        raise DataError(f"`{path}` has no columns: a table of vectors has one for each number")
    values = np.stack([_column(table.column(k)) for k in kept], axis=1)
    return NumberTable(tuple(table.column_names[k] for k in kept), values)


def _pandas_index(schema: Any) -> list[str]:
    """Columns that pandas wrote for the index of a frame, such as the old row numbers."""
    index: list[Any] = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in index if isinstance(name, str)]


def _column(column: Any) -> NDArray[np.float64]:
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return np.asarray(values, dtype=np.float64)
    return np.full(len(values), math.nan)
