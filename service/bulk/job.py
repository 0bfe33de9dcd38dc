"""A bulk run: cut into parts, each written once it is whole, so that a stopped run goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from service.bulk.encoder import BATCH_ROWS, BulkEncoder
from service.bulk.sources import Chunk, Source
from service.bulk.tables import join_parts, table_format, write_part
from service.errors import InvalidValue
from service.models.artifact import Manifest

PART_BYTES: Final = 32 * 2**20
MOST_PART_ROWS: Final = 64 * BATCH_ROWS
STATE: Final = "state.json"


class Progress(Protocol):
    """Told how far the run is."""

    def start(self, total: int, done: int) -> None:
        """`done` of `total` images were finished by an earlier run."""

    def advance(self, images: int) -> None:
        """So many more are done."""


@dataclass(frozen=True)
class Job:
    """Where the table goes and how the work is cut; made by `plan`."""

    out: Path
    folder: Path
    total: int
    part_rows: int

    @property
    def parts(self) -> list[Path]:
        """The files of all parts, in order."""
        count = -(-self.total // self.part_rows)
        return [self.folder / f"part-{number:06}{self.out.suffix}" for number in range(count)]

    def bounds(self, part: int) -> tuple[int, int]:
        """The images of a part, from the first up to the last, which is left out."""
        start = part * self.part_rows
        return start, min(start + self.part_rows, self.total)

    def missing(self) -> list[int]:
        """The parts that are still to be done."""
        return [number for number, path in enumerate(self.parts) if not path.exists()]

    def done_images(self) -> int:
        """How many images the finished parts hold."""
        missing = sum(stop - start for start, stop in map(self.bounds, self.missing()))
        return self.total - missing


def plan(out: Path, source: Source, manifest: Manifest, *, overwrite: bool = False) -> Job:
    """Cut the work, or take up the parts that an earlier run of the same work left.

    Raises:
        InvalidValue: the table exists, or parts of other work lie where its parts would.
    """
    table_format(out)
    if out.exists() and not overwrite:
        raise InvalidValue(f"`{out}` exists; pass --overwrite, or name another file with --out")
    image = manifest.require_image()
    row_bytes = image.channels * image.height * image.width
    part_rows = min(MOST_PART_ROWS, max(1, PART_BYTES // row_bytes // BATCH_ROWS) * BATCH_ROWS)
    job = Job(out, out.with_name(f".{out.name}.parts"), len(source), part_rows)
    state = {
        "format": 1,
        "model": {"name": manifest.name, "version": manifest.version},
        "files": {name: entry.sha256 for name, entry in sorted(manifest.files.items())},
        "images": source.fingerprint(),
        "part_rows": part_rows,
    }
    _take_up(job.folder, state, overwrite=overwrite)
    return job


def run_here(job: Job, source: Source, encoder: BulkEncoder, progress: Progress) -> None:
    """Does the missing parts in this process; the next part is read while one is encoded."""
    with ThreadPoolExecutor(1, thread_name_prefix="rfvae-next") as reader:
        for part, chunk in _ahead(
            reader, source, [(part, *job.bounds(part)) for part in job.missing()]
        ):
            write_part(job.parts[part], encoder.encode(chunk, progress.advance), encoder.columns)


def finish(job: Job, columns: list[str]) -> None:
    """Joins the parts and removes them."""
    join_parts(job.parts, job.out, columns)
    shutil.rmtree(job.folder)


def _ahead(
    reader: ThreadPoolExecutor, source: Source, wanted: Iterable[tuple[int, int, int]]
) -> Iterable[tuple[int, Chunk]]:
    upcoming: list[tuple[int, Any]] = []
    for part, start, stop in wanted:
        upcoming.append((part, reader.submit(source.read, start, stop)))
        if len(upcoming) > 1:
            first, chunk = upcoming.pop(0)
            yield first, chunk.result()
    for part, chunk in upcoming:
        yield part, chunk.result()


def _take_up(folder: Path, state: dict[str, Any], *, overwrite: bool) -> None:
    path = folder / STATE
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    if path.exists() and json.loads(path.read_text()) != state:
        raise InvalidValue(
            f"`{folder}` holds parts of a run with other images or another model; pass --overwrite "
            "to begin again, or name another file with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state, indent=1))
    os.replace(temporary, path)
