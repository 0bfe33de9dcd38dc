"""Some columns of a Parquet file, read by ranges of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.bulk.chunks import file_facts, hash_of, numbered
from service.bulk.tables import parquet
from service.codecs.rows import listed
from service.errors import InvalidValue, MalformedInput, one_line


class ParquetFile:
    """`columns`, and ids from `id_column` or, without one, from the rows' numbers.

    Args:
        cure: what to do where a column is missing.

    Raises:
        MalformedInput, InvalidValue: it is no Parquet file, lacks a column, or has no rows.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], id_column: str | None, *, cure: str
    ) -> None:
        self._path = path
        self._columns = [*columns, *([] if id_column is None else [id_column])]
        self._has_ids = id_column is not None
        try:
            self._file = parquet().ParquetFile(path)
        except (OSError, ValueError) as error:
            raise MalformedInput(f"`{path}` cannot be read as Parquet: {one_line(error)}") from None
        self.schema = self._file.schema_arrow
        self._require_columns(cure)
        meta = self._file.metadata
        groups = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups)])  # (row groups + 1,)
        self._loaded: tuple[int, Any] | None = None
        if len(self) == 0:
            raise InvalidValue(f"`{path.name}` must hold at least one row; got none")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def fingerprint(self) -> str:
        """Changes when the file or the choice of columns does."""
        return hash_of([file_facts(self._path.name, self._path), *self._columns])

    def read(self, start: int, stop: int) -> tuple[list[str], Any]:
        """Ids, and an Arrow table of the other columns."""
        import pyarrow as pa

        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        slices = []
        for group in range(int(first), int(last) + 1):
            offset = int(self._starts[group])
            length = stop - max(start, offset)
            slices.append(self._group(group).slice(max(start - offset, 0), length))
        table = pa.concat_tables(slices)
        if not self._has_ids:
            return numbered(start, table.num_rows), table
        ids = [str(value) for value in table.column(table.num_columns - 1).to_pylist()]
        return ids, table.remove_column(table.num_columns - 1)

    def _require_columns(self, cure: str) -> None:
        for column in self._columns:
            if self.schema.names.count(column) != 1:
                raise InvalidValue(
                    f"`{self._path.name}` must have one column `{column}`; it has "
                    f"{listed(self.schema.names)}; {cure}"
                )

    def _group(self, group: int) -> Any:
        """A row group; the last one stays in memory, as parts are read in order."""
        if self._loaded is None or self._loaded[0] != group:
            try:
                table = self._file.read_row_group(group, columns=[*dict.fromkeys(self._columns)])
            except (OSError, ValueError) as error:
                raise MalformedInput(f"`{self._path}` is damaged: {one_line(error)}") from None
            self._loaded = (group, table.select(self._columns))
        return self._loaded[1]
