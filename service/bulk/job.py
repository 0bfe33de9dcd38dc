"""A bulk run: cut into parts, each written once it is whole, so that a stopped run goes on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from service.bulk.chunks import Chunk, Source
from service.bulk.encoder import BulkEncoder, batch_rows_of
from service.bulk.tables import FORMATS, Rows, join_parts, table_format, write_part
from service.errors import InvalidValue

PART_BYTES: Final = 32 * 2**20
MOST_PART_BATCHES: Final = 64
PIECE_BATCHES: Final = 8  # read at a time, so that lanes and readers work side by side
STATE: Final = "state.json"
LOCK: Final = "lock"


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
    total: int
    part_rows: int
    piece_rows: int

    @property
    def folder(self) -> Path:
        """Where the parts are, until they are joined."""
        return parts_folder(self.out)

    @property
    def parts(self) -> list[Path]:
        """The files of all parts, in order."""
        return [self.file(part) for part in range(-(-self.total // self.part_rows))]

    def file(self, part: int) -> Path:
        """The file of one part."""
        return self.folder / f"part-{part:06}{self.out.suffix}"

    def bounds(self, part: int) -> tuple[int, int]:
        """The images of a part, from the first up to the last, which is left out."""
        start = part * self.part_rows
        return start, min(start + self.part_rows, self.total)

    def pieces(self, part: int) -> list[tuple[int, int]]:
        """The same, cut into what is read at a time."""
        (first, stop), rows = self.bounds(part), self.piece_rows
        return [(start, min(start + rows, stop)) for start in range(first, stop, rows)]

    def missing(self) -> list[int]:
        """The parts that are still to be done."""
        return [number for number, path in enumerate(self.parts) if not path.exists()]

    def done_images(self) -> int:
        """How many images the finished parts hold."""
        missing = sum(stop - start for start, stop in map(self.bounds, self.missing()))
        return self.total - missing


def parts_folder(out: Path) -> Path:
    """The folder beside the table in which its parts are kept."""
    return out.with_name(f".{out.name}.parts")


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keeps other runs from writing the same table; leaves nothing behind when no part was done.

    Raises:
        InvalidValue: another run is at it, or `out` is no table.
    """
    table_format(out)
    folder = parts_folder(out)
    with _made(folder), (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidValue(
                f"another run is writing `{out}`; wait for it, or name another file with --out"
            ) from None
        try:
            yield
        finally:
            if folder.exists() and not _finished_parts(folder):
                shutil.rmtree(folder)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Makes the folder; in the end those above it that are new and empty are gone."""
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for parent in new:  # from the innermost
            with suppress(OSError):  # not empty
                parent.rmdir()


def plan(out: Path, source: Source, encoder: BulkEncoder, *, overwrite: bool = False) -> Job:
    """Cut the work, or take up the parts that an earlier run of the same work left.

    A run that skips what is damaged may take up the parts of one that did not, which met nothing
    of the kind; not the other way round.

    Raises:
        InvalidValue: the table exists, or parts of other work lie where its parts would.
    """
    if out.exists() and not overwrite:
        raise InvalidValue(f"`{out}` exists; pass --overwrite, or name another file with --out")
    manifest = encoder.model.manifest
    batch = batch_rows_of(manifest)
    batches = min(MOST_PART_BATCHES, max(1, PART_BYTES // source.row_bytes // batch))
    part_rows = batches * batch
    state = {
        "format": 1,
        "model": {"name": manifest.name, "version": manifest.version},
        "files": {name: entry.sha256 for name, entry in sorted(manifest.files.items())},
        "images": source.fingerprint(),
        "part_rows": part_rows,
        "skip_damaged": encoder.skip_damaged,
    }
    _take_up(parts_folder(out), state, overwrite=overwrite)
    return Job(out, len(source), part_rows, PIECE_BATCHES * batch)


def run_parts(
    job: Job, parts: list[int], *, source: Source, encoder: BulkEncoder, progress: Progress
) -> None:
    """Does these parts in this process; the next piece is read while one is encoded."""
    pieces = [piece for part in parts for piece in job.pieces(part)]
    with ThreadPoolExecutor(1, thread_name_prefix="rfvae-next") as reader:
        encoded = encoder.encode(_ahead(reader, source, pieces))
        for part in parts:
            rows = []
            for piece in islice(encoded, len(job.pieces(part))):
                rows.append(piece)
                progress.advance(len(piece.ids))
            write_part(job.file(part), Rows.joined(rows), encoder.columns)


def finish(job: Job, columns: list[str]) -> None:
    """Joins the parts and removes them."""
    join_parts(job.parts, job.out, columns)
    shutil.rmtree(job.folder)


def _finished_parts(folder: Path) -> list[Path]:
    return [path for path in folder.glob("part-*") if path.suffix in FORMATS]


def _ahead(
    reader: ThreadPoolExecutor, source: Source, pieces: Iterable[tuple[int, int]]
) -> Iterator[Chunk]:
    upcoming: Future[Chunk] | None = None
    for start, stop in pieces:
        current, upcoming = upcoming, reader.submit(source.read, start, stop)
        if current is not None:
            yield current.result()
    if upcoming is not None:
        yield upcoming.result()


def _take_up(folder: Path, state: dict[str, Any], *, overwrite: bool) -> None:
    path = folder / STATE
    if overwrite:
        for left in (*folder.glob("part-*"), *folder.glob(STATE)):
            left.unlink()
    if _finished_parts(folder):
        _require_same_work(path, state)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state, indent=1))
    os.replace(temporary, path)


def _require_same_work(path: Path, state: dict[str, Any]) -> None:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        raise InvalidValue(
            f"`{path.parent}` must hold a sound `{STATE}` beside its parts; it is missing or "
            "damaged; pass --overwrite to begin again, or name another file with --out"
        ) from None
    if found not in (state, {**state, "skip_damaged": False}):
        raise InvalidValue(
            f"`{path.parent}` holds parts of a run with another input or model, or of one with "
            "--skip-damaged; pass --overwrite to begin again, or name another file with --out"
        )
