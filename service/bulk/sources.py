"""Where many images come from: a folder of files, a `.npy` array, or a Parquet column.

A source has a fixed order and can read any range of it, so that work can be cut into parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.bulk.chunks import Chunk, Source, file_facts, hash_of, map_npy, numbered
from service.bulk.parquet_file import ParquetFile
from service.codecs.local_images import SUFFIXES, decode_local_image
from service.codecs.npy import read_images, write_npy
from service.codecs.spec import ImageSpec, Pixels
from service.errors import InvalidValue, MalformedInput, TooManyPixels
from service.models.artifact import MANIFEST
from service.models.manifest import ENCODER
from service.runtime.threads import cpu_budget

GROUP_ROWS: Final = 32  # image files that a thread takes at a time
READ_BYTES: Final = 2**16
# What training and export leave, whose pictures are of the images: folders that hold all of these
# files, and beside `compare.json` its pictures.
MADE: Final = (("run.json",), (MANIFEST, ENCODER))
COMPARISON: Final = "compare.json"
COMPARISON_PICTURES: Final = frozenset(("matches.png", "traversals.png"))


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Args:
        spec: what the model takes.
        skip_damaged: an image that cannot be decoded gets a row without numbers; else it is an
            error.
        image_column, id_column: of a Parquet file; `id_column` None numbers the rows.
    """

    spec: ImageSpec
    max_pixels: int
    skip_damaged: bool = False
    image_column: str = "image"
    id_column: str | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of one image as the model takes it."""
        return self.spec.channels * self.spec.height * self.spec.width


def open_source(path: Path, reading: Reading) -> Source:
    """Choose by what lies at `path`.

    Raises:
        InvalidValue: nothing there, no image in it, or another kind of file.
    """
    if path.is_dir():
        return FolderSource(path, reading)
    if not path.exists():
        raise InvalidValue(f"`{path}` does not exist; name a folder, a .npy or a .parquet file")
    if path.suffix == ".npy":
        return NpySource(path, reading)
    if path.suffix in {".parquet", ".pq"}:
        return ParquetSource(path, reading)
    raise InvalidValue(
        f"the input must be a folder of images, a .npy or a .parquet file; got `{path.name}`"
    )


class FolderSource:
    """Every image file below a folder, by name; the id is the path inside the folder.

    Bytes of a name that are not UTF-8 are escaped in its id: `caf\\xe9.png`.
    """

    def __init__(self, folder: Path, reading: Reading) -> None:
        self._folder, self._files = folder, _Files(reading)
        self.row_bytes = reading.row_bytes
        self._names = sorted(_image_files(folder))
        if not self._names:
            raise InvalidValue(
                f"`{folder}` must hold image files ({', '.join(sorted(SUFFIXES))}); found none"
            )

    def __len__(self) -> int:
        return len(self._names)

    def fingerprint(self) -> str:
        return hash_of(file_facts(name, self._path_of(name)) for name in self._names)

    def read(self, start: int, stop: int) -> Chunk:
        names = self._names[start:stop]
        ids = [_as_text(name) for name in names]
        return self._files.chunk(ids, lambda index: _read(self._path_of(names[index])))

    def _path_of(self, name: str) -> str:
        """A text, since a `Path` for each of many small files costs as much as to read it."""
        return f"{self._folder}/{name}"


class NpySource:
    """The rows of one array, mapped and not loaded; the id is the row, from 0."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self.row_bytes = reading.row_bytes
        self._array = map_npy(path)
        if self._array.ndim == 0:
            raise InvalidValue(
                f"`{path.name}` must hold images of the shape (n, height, width[, channels]); got "
                "a single number"
            )
        self._images(0, min(1, len(self)))  # says at once what no row can be

    def __len__(self) -> int:
        return len(self._array)

    def fingerprint(self) -> str:
        return hash_of([file_facts(self._path.name, self._path)])

    def read(self, start: int, stop: int) -> Chunk:
        try:
            images = self._images(start, stop)
        except InvalidValue as error:
            text = f"rows {start} to {stop - 1} of `{self._path.name}`: {error.detail}"
            raise InvalidValue(text) from None
        return Chunk(numbered(start, len(images)), images, np.zeros(len(images), np.bool_))

    def _images(self, start: int, stop: int) -> Pixels:
        rows = write_npy(self._array[start:stop])
        limit, spec = self._reading.max_pixels, self._reading.spec
        return read_images(rows, spec, max_rows=stop - start, max_pixels=limit).images


class ParquetSource:
    """A column of image files: bytes, or a struct with a field `bytes`."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._files = _Files(reading)
        self.row_bytes = reading.row_bytes
        self._file = ParquetFile(
            path,
            [reading.image_column],
            reading.id_column,
            cure="name the columns with --image-column and --id-column",
        )
        kind = self._file.schema.field(reading.image_column).type
        if not _holds_files(kind):
            raise InvalidValue(
                f"column `{reading.image_column}` of `{path.name}` must hold image files, binary "
                f"or a struct with a field `bytes`; it holds {kind}; name another with "
                "--image-column"
            )

    def __len__(self) -> int:
        return len(self._file)

    def fingerprint(self) -> str:
        return self._file.fingerprint()

    def read(self, start: int, stop: int) -> Chunk:
        ids, table = self._file.read(start, stop)
        files = [_bytes_of(value) for value in table.column(0).to_pylist()]
        return self._files.chunk(ids, files.__getitem__)


class _Files:
    """Decodes image files on every core."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def chunk(self, ids: list[str], bytes_of: Callable[[int], bytes]) -> Chunk:
        """The images of these ids; `bytes_of` an index among them is called in several threads."""

        def decode(start: int) -> list[Pixels | None]:
            group = range(start, min(start + GROUP_ROWS, len(ids)))
            return [self._decode(ids[index], bytes_of(index)) for index in group]

        groups = self._threads.map(decode, range(0, len(ids), GROUP_ROWS))
        decoded = [one for group in groups for one in group]
        spec = self._reading.spec
        blank = np.zeros((1, spec.channels, spec.height, spec.width), np.uint8)
        images = np.concatenate([blank if one is None else one for one in decoded])
        return Chunk(ids, images, np.array([one is None for one in decoded], np.bool_))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cpu_budget().cores, thread_name_prefix="rfvae-read")

    def _decode(self, name: str, data: bytes) -> Pixels | None:
        """uint8 (1, channels, height, width); None for a damaged image that may be skipped."""
        reading = self._reading
        try:
            return decode_local_image(data, reading.spec, max_pixels=reading.max_pixels)
        except (MalformedInput, TooManyPixels) as error:
            if reading.skip_damaged:
                return None
            text = f"`{name}`: {error.detail}; remove it, or pass --skip-damaged"
            raise type(error)(text) from None


def _holds_files(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _bytes_of(value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else b""


def _image_files(folder: Path) -> Iterator[str]:
    """The path inside the folder of every image file at any depth; hidden ones are left out.

    Links to folders are followed, but not in a circle. Pictures of a run, a comparison or an
    exported model are of the images, not among them.
    """
    waiting = [("", frozenset({_identity(folder.stat())}))]
    while waiting:
        inside, above = waiting.pop()
        is_compared = (folder / inside / COMPARISON).is_file()
        with os.scandir(folder / inside) as entries:  # knows files from folders without asking
            for entry in entries:
                name = f"{inside}{entry.name}"
                if entry.name.startswith("."):
                    continue
                if is_compared and entry.name in COMPARISON_PICTURES:
                    continue
                if entry.is_dir():
                    identity = _identity(entry.stat())
                    if identity not in above and not _is_made(folder / name):
                        waiting.append((f"{name}/", above | {identity}))
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                    yield name


def _is_made(folder: Path) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in MADE)


def _as_text(name: str) -> str:
    """A file name whose bytes that are no UTF-8 are escaped, so that it can be written."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _read(path: str) -> bytes:
    """A whole file, in half the system calls that a file object makes."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = iter(lambda: os.read(file, READ_BYTES), b"")
        return b"".join(parts)
    finally:
        os.close(file)
