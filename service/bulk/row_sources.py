"""Where many rows of numbers come from, for models of rows: CSV, a `.npy` table, Parquet columns.

Columns are found by their names where the file has them, in any order and among others; a `.npy`
table and a CSV file without a header hold the model's columns and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.bulk.chunks import Chunk, Source, file_facts, hash_of, map_npy, numbered
from service.bulk.csv_file import Table, read_csv
from service.bulk.parquet_file import ParquetFile
from service.codecs.rows import listed
from service.errors import InvalidValue

NUMBERS: Final = "biuf"  # numpy's kinds of types


@dataclass(frozen=True)
class RowReading:
    """How rows are read.

    Args:
        columns: what the model takes, in this order.
        skip_damaged: a row with a cell that is no finite number gets a row without numbers; else
            it is an error.
        id_column: of a CSV or Parquet file; None numbers the rows.
    """

    columns: tuple[str, ...]
    skip_damaged: bool = False
    id_column: str | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as the model takes it."""
        return 4 * len(self.columns)

    def chunk(self, ids: list[str], table: Table) -> Chunk:
        """What lies in `table` (n, n_columns), NaN where a cell is empty or holds text.

        Raises:
            InvalidValue: naming the first such cell, unless it may be skipped.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # infinite or NaN
            rows = np.ascontiguousarray(table, np.float32)
        sound = np.isfinite(rows)  # (n, n_columns)
        damaged = np.asarray(~sound.all(axis=1))  # (n,)
        if damaged.any() and not self.skip_damaged:
            row, column = np.argwhere(~sound)[0]
            cell = float(table[row, column])
            got = "text, nothing or NaN" if math.isnan(cell) else f"{cell:g}"
            raise InvalidValue(
                f"row `{ids[row]}`, column `{self.columns[column]}`: must be a finite float32 "
                f"number; got {got}; correct it, or pass --skip-damaged"
            )
        rows[damaged] = 0
        return Chunk(ids, rows, damaged)


def open_rows(path: Path, reading: RowReading) -> Source:
    """Choose by the ending of `path`.

    Raises:
        InvalidValue: nothing there, or another kind of file.
    """
    if path.suffix not in KINDS or path.is_dir():
        raise InvalidValue(
            f"this model takes rows of numbers: the input must be a .csv, .npy or .parquet file; "
            f"got `{path.name}`"
        )
    if not path.exists():
        raise InvalidValue(f"`{path}` does not exist; name a .csv, .npy or .parquet file")
    return KINDS[path.suffix](path, reading)


class NpyRows:
    """A table of numbers of any type, mapped and not loaded; the id is the row, from 0."""

    def __init__(self, path: Path, reading: RowReading) -> None:
        self._path, self._reading = path, reading
        self.row_bytes = reading.row_bytes
        self._array = map_npy(path)
        shape = self._array.shape
        width = len(reading.columns)
        if self._array.dtype.kind not in NUMBERS or shape[1:] != (width,) or len(self) == 0:
            raise InvalidValue(
                f"`{path.name}` must hold numbers of the shape (n, {width}), a column each for "
                f"{listed(reading.columns)}; got {self._array.dtype} of shape {shape}"
            )

    def __len__(self) -> int:
        return len(self._array) if self._array.ndim else 0

    def fingerprint(self) -> str:
        return hash_of([file_facts(self._path.name, self._path)])

    def read(self, start: int, stop: int) -> Chunk:
        table = np.asarray(self._array[start:stop], np.float64)
        return self._reading.chunk(numbered(start, len(table)), table)


class ParquetRows:
    """Columns of numbers, by their names."""

    def __init__(self, path: Path, reading: RowReading) -> None:
        self._reading = reading
        self.row_bytes = reading.row_bytes
        cure = "rename its columns as the model's; --id-column names the ids"
        self._file = ParquetFile(path, reading.columns, reading.id_column, cure=cure)
        for name in reading.columns:
            kind = self._file.schema.field(name).type
            if not _is_number(kind):
                raise InvalidValue(
                    f"column `{name}` of `{path.name}` must hold numbers; it holds {kind}; convert "
                    "it"
                )

    def __len__(self) -> int:
        return len(self._file)

    def fingerprint(self) -> str:
        return self._file.fingerprint()

    def read(self, start: int, stop: int) -> Chunk:
        import pyarrow as pa

        ids, table = self._file.read(start, stop)
        columns = [column.cast(pa.float64(), safe=False).to_numpy() for column in table.columns]
        return self._reading.chunk(ids, np.stack(columns, axis=1))  # a null is NaN here


class CsvRows:
    """Columns of a CSV file, by their names or, without a header, in order."""

    def __init__(self, path: Path, reading: RowReading) -> None:
        self._path, self._reading = path, reading
        self.row_bytes = reading.row_bytes
        self._ids, self._table = read_csv(path, reading.columns, reading.id_column)

    def __len__(self) -> int:
        return len(self._table)

    def fingerprint(self) -> str:
        return hash_of([file_facts(self._path.name, self._path), str(self._reading.id_column)])

    def read(self, start: int, stop: int) -> Chunk:
        return self._reading.chunk(self._ids[start:stop], self._table[start:stop])


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    checks = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    return any(check(kind) for check in checks)


KINDS: Final[dict[str, Callable[[Path, RowReading], Source]]] = {
    ".csv": CsvRows,
    ".npy": NpyRows,
    ".parquet": ParquetRows,
    ".pq": ParquetRows,
}
