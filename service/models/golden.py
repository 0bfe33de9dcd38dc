"""`golden.npz`: a few inputs with the outputs that torch gave for them, read without trust."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.codecs.npy import read_npy
from service.errors import ArtifactError, ServiceError, one_line
from service.models.manifest import GOLDEN

MAX_ARRAY_BYTES = 256 * 1024 * 1024
TYPES = {"|u1": "uint8", "<f4": "float32"}
UNREADABLE = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # encrypted, or packed in another way
    ServiceError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Golden:
    """What a model is tested with before it serves.

    `image` uint8 (n, channels, height, width) with `mu`, `logvar` float32 (n, latent_dim), and
    `z` float32 (m, latent_dim) with `decoded` float32 (m, channels, height, width). Of a model of
    rows, `image` and `decoded` are float32 (n, n_columns) in the data's own units.
    """

    image: npt.NDArray[Any]
    mu: npt.NDArray[np.float32]
    logvar: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    decoded: npt.NDArray[np.float32]


def load_golden(folder: Path) -> Golden:
    """Read `golden.npz` without unpickling anything, and without making room for what is not there.

    Raises:
        ArtifactError: if the file is missing or damaged, lacks an array, or has no sample.
    """
    path = folder / GOLDEN
    names = [field.name for field in fields(Golden)]
    try:
        with zipfile.ZipFile(path) as archive:
            golden = Golden(**{name: _read_array(archive, f"{name}.npy") for name in names})
        _require_samples(golden)
    except FileNotFoundError:
        raise ArtifactError(f"`{path}` does not exist; export the model again") from None
    except UNREADABLE as error:
        raise ArtifactError(
            f"`{path}` must hold the arrays {', '.join(names)}: {one_line(error)}; export "
            "the model again"
        ) from None
    return golden


def _read_array(archive: zipfile.ZipFile, member: str) -> npt.NDArray[Any]:
    if archive.getinfo(member).file_size > MAX_ARRAY_BYTES:
        raise ValueError(f"{member} is larger than {MAX_ARRAY_BYTES} bytes")
    return read_npy(archive.read(member), TYPES)


def _require_samples(golden: Golden) -> None:
    """The self-test compares rows: without any it would find no difference."""
    counts = [len(array) if array.ndim else 0 for array in vars(golden).values()]
    encoded, decoded = counts[:3], counts[3:]
    if not all(counts) or len(set(encoded)) > 1 or len(set(decoded)) > 1:
        raise ValueError(f"each needs as many rows as its partners, and one or more; got {counts}")
