"""What every source of samples gives, whatever it reads: ranges of a fixed order, and their ids."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from service.errors import MalformedInput


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples: `ids` (n,), and `images` as the model takes them.

    `images` is uint8 (n, channels, height, width), or for a model of rows float32 (n, n_columns).
    `damaged` (n,) marks those that could not be read; they are zero.
    """

    ids: list[str]
    images: npt.NDArray[Any]
    damaged: npt.NDArray[np.bool_]


class Source(Protocol):
    """Samples in a fixed order."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample as the model takes it."""

    def __len__(self) -> int: ...

    def fingerprint(self) -> str:
        """Changes when the samples or their order may have."""

    def read(self, start: int, stop: int) -> Chunk:
        """The samples from `start` up to `stop`, which is left out."""


def map_npy(path: Path) -> npt.NDArray[Any]:
    """An array on the disk, not loaded.

    Raises:
        MalformedInput: the file is damaged, no npy, or holds Python objects.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError:
        raise MalformedInput(
            f"`{path}` must be a plain array as `numpy.save` writes it; it is damaged, in another "
            "format, or holds Python objects, which are never unpickled"
        ) from None


def numbered(start: int, count: int) -> list[str]:
    """The ids of samples that have no other: their place, from 0."""
    return [str(row) for row in range(start, start + count)]


def file_facts(name: str, path: Path | str) -> str:
    """Name, size and time of change of a file."""
    state = os.stat(path)
    return f"{name} {state.st_size} {state.st_mtime_ns}"


def hash_of(lines: Iterable[str]) -> str:
    """SHA-256 of the lines, which may hold file names, in hexadecimal."""
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
