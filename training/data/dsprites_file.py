"""The genuine dSprites file (npz or hdf5) as packed bits: 1/8 of its 3 GB; nothing is unpickled.

Only the arrays `imgs`, `latents_values` and `latents_classes` are opened. `metadata`, a pickled
object, is never touched.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.array_files import BROKEN, is_hdf5, open_hdf5, read_npy_header
from training.data.ground_truth import GroundTruth
from training.data.sprites import ELLIPSE
from training.data.stored_images import hash_files
from training.errors import DataError

CHUNK_IMAGES = 4096
FACTOR_NAMES = ("color", "shape", "scale", "orientation", "x", "y")


class DspritesFile:
    """An image source that holds the file's images as packed bits."""

    source = "file"

    def __init__(self, name: str, *, path: Path) -> None:
        self.name = name
        self._path = path
        classes, values = _read_latents(path)
        try:
            rows, self.factors = _select(name, path, classes, values)
            self._packed, height, width = _read_packed(path, rows)
        except BROKEN as error:
            raise _not_dsprites(path, str(error)) from error
        self.image_shape = (1, height, width)
        self.n_images = self.factors.n_images

    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return hash_files([self._path])

    def images(self, indices: Tensor) -> Tensor:
        """Unpack images, (batch,) int64 -> (batch, 1, height, width) float32 of 0 and 1."""
        _, height, width = self.image_shape
        packed = self._packed[indices.cpu().numpy()]  # (batch, bytes)
        bits = np.unpackbits(packed, axis=1, count=height * width)
        pixels = torch.from_numpy(bits).to(indices.device).float()
        return pixels.view(-1, 1, height, width)


def _read_latents(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    try:
        classes, values = _hdf5_latents(path) if is_hdf5(path) else _npz_latents(path)
    except FileNotFoundError as error:
        raise DataError(f"`data.path` must name a file: `{path}` is missing") from error
    except BROKEN as error:
        raise _not_dsprites(path, str(error)) from error
    if classes.ndim != 2 or classes.shape[1] != len(FACTOR_NAMES) or classes.shape != values.shape:
        raise _not_dsprites(path, f"latents have the shapes {classes.shape} and {values.shape}")
    return classes, values


def _npz_latents(path: Path) -> list[NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        return [_read_array(archive, name) for name in ("latents_classes", "latents_values")]


def _hdf5_latents(path: Path) -> list[NDArray[Any]]:
    with open_hdf5(path) as file:
        return [np.asarray(file[name]) for name in ("latents/classes", "latents/values")]


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _not_dsprites(path: Path, reason: str) -> DataError:
    return DataError(
        f"`{path}` is not the dSprites file: {reason}; give `data.path` the file "
        "`dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`, or leave it out to draw the images"
    )


def _select(
    name: str, path: Path, classes: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[slice, GroundTruth]:
    """The rows of the set `name` and the grid they form."""
    whole = _grid(classes, values)
    if not np.array_equal(whole.indices_of(torch.from_numpy(classes)), np.arange(len(classes))):
        raise _not_dsprites(
            path, "the rows of `latents_classes` must be a full grid, last factor fastest"
        )
    shape, first = whole.factor_values[1], 1 if name == "dsprites" else 2
    factors = GroundTruth(whole.factor_names[first:], whole.factor_values[first:])
    if name == "dsprites":
        return slice(0, len(classes)), factors
    if len(shape) <= ELLIPSE:
        raise _not_dsprites(path, "`oval-dsprites` takes the rows of shape class 1 and it has none")
    return slice(ELLIPSE * factors.n_images, (ELLIPSE + 1) * factors.n_images), factors


def _grid(classes: NDArray[np.int64], values: NDArray[np.float64]) -> GroundTruth:
    columns = []
    for k in range(len(FACTOR_NAMES)):
        _, first_rows = np.unique(classes[:, k], return_index=True)
        columns.append(tuple(float(value) for value in values[first_rows, k]))
    return GroundTruth(FACTOR_NAMES, tuple(columns))


def _read_packed(path: Path, rows: slice) -> tuple[NDArray[np.uint8], int, int]:
    """Stream the array `imgs` and keep the bits of the wanted rows."""
    if is_hdf5(path):
        return _read_packed_hdf5(path, rows)
    with zipfile.ZipFile(path) as archive:
        if "imgs.npy" not in archive.namelist():
            raise _not_dsprites(path, "it has no array `imgs`")
        with archive.open("imgs.npy") as member:
            count, height, width = _read_header(path, member)
            if rows.stop > count:
                raise _not_dsprites(path, f"it has {count} images, {rows.stop} are needed")
            _skip(member, rows.start * height * width)
            chunks = _chunks(path, member, (rows.stop - rows.start, height * width))
            return np.concatenate([_pack(path, chunk) for chunk in chunks]), height, width


def _read_packed_hdf5(path: Path, rows: slice) -> tuple[NDArray[np.uint8], int, int]:
    with open_hdf5(path) as file:
        if "imgs" not in file:
            raise _not_dsprites(path, "it has no array `imgs`")
        images = file["imgs"]
        _require_form(path, images.shape, images.dtype)
        count, height, width = images.shape
        if rows.stop > count:
            raise _not_dsprites(path, f"it has {count} images, {rows.stop} are needed")
        packed = []
        for start in range(rows.start, rows.stop, CHUNK_IMAGES):
            chunk = images[start : min(start + CHUNK_IMAGES, rows.stop)]
            packed.append(_pack(path, chunk.reshape(-1, height * width)))
        return np.concatenate(packed), height, width


def _pack(path: Path, chunk: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if chunk.max() > 1:
        raise _not_dsprites(path, f"pixels must be 0 or 1, and {chunk.max()} was found")
    return np.packbits(chunk, axis=1)


def _require_form(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    if dtype != np.uint8 or len(shape) != 3:
        raise _not_dsprites(path, f"`imgs` is {dtype} of shape {shape}, not uint8 (N, H, W)")


def _read_header(path: Path, member: IO[bytes]) -> tuple[int, int, int]:
    try:
        shape, fortran, dtype = read_npy_header(member)
    except (KeyError, ValueError) as error:
        raise _not_dsprites(path, f"the header of `imgs` is damaged ({error})") from error
    _require_form(path, shape, dtype)
    if fortran:
        raise _not_dsprites(path, "`imgs` is stored column by column")
    n, height, width = shape
    return n, height, width


def _skip(member: IO[bytes], n_bytes: int) -> None:
    while n_bytes > 0 and (block := member.read(min(n_bytes, 1 << 24))):
        n_bytes -= len(block)


def _chunks(path: Path, member: IO[bytes], shape: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Yield rows of pixels, at most 4096 at once."""
    n_rows, n_pixels = shape
    for start in range(0, n_rows, CHUNK_IMAGES):
        wanted = min(CHUNK_IMAGES, n_rows - start) * n_pixels
        block = member.read(wanted)
        if len(block) != wanted:
            raise _not_dsprites(path, "`imgs` ends too early")
        yield np.frombuffer(block, dtype=np.uint8).reshape(-1, n_pixels)
