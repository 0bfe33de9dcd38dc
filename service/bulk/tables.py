"""Parts of a table on disk, and the one file that they become; CSV, or Parquet with pyarrow.

The same parts give the same bytes, whether or not the work was interrupted in between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.errors import InvalidValue, ServiceError

ID, NOVELTY = "id", "novelty"
FORMATS: Final = (".csv", ".parquet")
_TO_QUOTE: Final = re.compile(r'[",\r\n]')


@dataclass(frozen=True)
class Rows:
    """Some rows of the table: `ids` (n,) and `numbers` float32 (n, columns); NaN has no value."""

    ids: list[str]
    numbers: npt.NDArray[np.float32]

    @classmethod
    def joined(cls, pieces: Sequence[Rows]) -> Rows:
        """All of them, in order."""
        ids = [name for piece in pieces for name in piece.ids]
        return cls(ids, np.concatenate([piece.numbers for piece in pieces]))  # (n, columns)


def number_columns(names: Sequence[str], dims: Sequence[int]) -> list[str]:
    """For each relevant factor its value, sigma and percentile; then novelty.

    Blanks become underscores; where one of the three names is taken, the factor's gets its
    dimension's number.
    """
    columns: list[str] = []
    for name, dim in zip(names, dims, strict=True):
        three = _columns_of("_".join(name.split()))
        while not {ID, NOVELTY, *columns}.isdisjoint(three):
            three = _columns_of(f"{three[0]}_{dim}")
        columns += three
    return [*columns, NOVELTY]


def _columns_of(factor: str) -> list[str]:
    return [factor, f"{factor}_sigma", f"{factor}_percentile"]


def table_format(out: Path) -> str:
    """`.csv` or `.parquet`.

    Raises:
        InvalidValue: another ending, or a folder.
        ServiceError: Parquet is asked for and pyarrow is not installed.
    """
    if out.suffix not in FORMATS:
        raise InvalidValue(f"`--out` must end in {' or '.join(FORMATS)}; got `{out}`")
    if out.is_dir():
        raise InvalidValue(f"`--out` must name a file; got the folder `{out}`; name another file")
    if out.suffix == ".parquet":
        parquet()
    return out.suffix


def write_part(path: Path, rows: Rows, columns: Sequence[str]) -> None:
    """Writes one part, whole or not at all."""
    with _replacing(path, path.parent) as part:
        if path.suffix == ".csv":
            _write_csv(part, rows)
        else:
            parquet().write_table(_arrow(rows, columns), part)


def join_parts(parts: Sequence[Path], out: Path, columns: Sequence[str]) -> None:
    """Writes the parts as one table, whole or not at all."""
    with _replacing(out, parts[0].parent) as whole:
        if out.suffix == ".csv":
            _join_csv(parts, whole, columns)
        else:
            _join_parquet(parts, whole)


@contextmanager
def _replacing(path: Path, folder: Path) -> Iterator[Path]:
    """A file in `folder` that becomes `path` once it is whole and on the disk."""
    new = folder / f"{path.name}.{os.getpid()}.tmp"
    yield new
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)


def parquet() -> Any:
    """pyarrow's Parquet module.

    Raises:
        ServiceError: it is not installed.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ServiceError(
            "reading and writing Parquet needs pyarrow: `pip install 'rfvae[parquet]'`; "
            "CSV needs nothing more"
        ) from None
    return pq


def _write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        for name, numbers in zip(rows.ids, rows.numbers.tolist(), strict=True):
            file.write(",".join((_csv_cell(name), *map(_text, numbers))) + "\n")


def _csv_cell(text: str) -> str:
    """As RFC 4180 says; csv.writer with lines that end in \\n quotes no carriage return."""
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if _TO_QUOTE.search(text) else text


def _text(number: float) -> str:
    return "" if number != number else f"{number:.7g}"


def _join_csv(parts: Sequence[Path], whole: Path, columns: Sequence[str]) -> None:
    with whole.open("wb") as file:
        file.write((",".join(map(_csv_cell, (ID, *columns))) + "\n").encode())
        for part in parts:
            file.write(part.read_bytes())


def _arrow(rows: Rows, columns: Sequence[str]) -> Any:
    import pyarrow as pa

    numbers = {
        name: pa.array(column, pa.float32(), from_pandas=True)  # NaN becomes null
        for name, column in zip(columns, rows.numbers.T, strict=True)
    }
    return pa.table({ID: pa.array(rows.ids, pa.string()), **numbers})


def _join_parquet(parts: Sequence[Path], whole: Path) -> None:
    pq = parquet()
    with pq.ParquetWriter(whole, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))
