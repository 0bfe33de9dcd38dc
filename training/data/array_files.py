"""Arrays in files, opened and not read: npy, npz, HDF5, MATLAB and tensor files. Never a pickle.

What comes back takes a numpy array of row numbers in brackets. Files larger than `MEMORY_LIMIT`
stay on disk: memory-mapped, or read row by row from HDF5; a large compressed npz member is unpacked
once into an anonymous temporary file.
"""

import pickle
import struct
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import DataError

MEMORY_LIMIT = 2 << 30  # bytes
ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".mat", ".pt", ".pth")
# Names under which public files keep their images, tried where there is a choice.
USUAL_KEYS = ("images", "imgs", "data", "x")
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
# What the readers of all these formats raise on a file that was cut short or has changed bytes.
BROKEN = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AssertionError, RuntimeError),
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
# What torch's restricted unpickler raises on what it does not know.
_UNSAFE = (pickle.UnpicklingError, AttributeError, IndexError, TypeError)
_NPY_MAGIC = b"\x93NUMPY"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class Rows(Protocol):
    """An array that is asked for rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """All sides, rows first."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of an element."""
        ...

    def __getitem__(self, rows: Any) -> Any:
        """The rows, in their order."""
        ...


def open_array(path: Path, *, key: str | None = None) -> Rows:
    """Open the array of a file.

    Args:
        path: One of `ARRAY_SUFFIXES`.
        key: Its name, for files that hold several; found where one is named in the usual way.

    Raises:
        DataError: The file is missing or damaged, has no such array, or would need unpickling.
    """
    require_file(path)
    openers = {".npy": _open_npy, ".npz": _open_npz, ".mat": _open_mat}
    openers |= dict.fromkeys((".h5", ".hdf5"), _open_hdf5) | dict.fromkeys(
        (".pt", ".pth"), _open_tensor
    )
    if path.suffix.lower() not in openers:
        raise DataError(
            f"arrays are read from {', '.join(ARRAY_SUFFIXES)} files: got `{path}`; convert it"
        )
    try:
        rows: Rows = openers[path.suffix.lower()](path, key)
        if 0 in (rows.shape or (0,)):
            raise DataError(
                f"an array of samples has one in each row: `{path}` has the shape {rows.shape}; "
                "choose another array with `data.key`, or convert it"
            )
        return _in_memory(rows)
    except BROKEN as error:
        raise cannot_be_read(path, error) from error


def cannot_be_read(path: Path, error: Exception) -> DataError:
    """The error of a file that is damaged, with the reader's reason."""
    return DataError(f"`{path}` cannot be read: {error}; restore it from its source")


def require_file(path: Path, *, setting: str = "data.path") -> None:
    """Refuse a path that names no file; `setting` is where it came from.

    Raises:
        DataError: It is missing, or a folder.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is missing"
        raise DataError(f"`{setting}` must name a file: `{path}` {what}")


def pick_key(names: Sequence[str], key: str | None, *, path: Path) -> str:
    """The array to take: the wanted one, the only one, or one with a usual name.

    Raises:
        DataError: There is none, or no way to tell.
    """
    listed = ", ".join(sorted(names)) or "nothing"
    if key is not None:
        if key not in names:
            raise DataError(f"`{path}` has no array `{key}`: it has {listed}; change `data.key`")
        return key
    if len(names) == 1:
        return names[0]
    for usual in USUAL_KEYS:
        if usual in names:
            return usual
    raise DataError(f"`{path}` holds {listed}: name the images with `data.key`")


def size_bytes(rows: Rows) -> int:
    """Bytes of all rows."""
    itemsize: int = np.dtype(rows.dtype).itemsize
    return int(np.prod(rows.shape, dtype=np.int64)) * itemsize


def _in_memory(rows: Rows) -> Rows:
    if size_bytes(rows) > MEMORY_LIMIT:
        return rows
    whole = rows[:]
    return np.array(whole) if isinstance(whole, np.memmap) else np.ascontiguousarray(whole)


class Hdf5Rows:
    """An HDF5 dataset, which wants row numbers to rise."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype = dataset.dtype

    def __getitem__(self, rows: Any) -> Any:
        try:
            if isinstance(rows, slice):
                return self._dataset[rows]
            different, places = np.unique(rows, return_inverse=True)
            return self._dataset[different][places]
        except OSError as error:
            raise cannot_be_read(Path(self._dataset.file.filename), error) from error


class JoinedRows:
    """Several arrays one after the other."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def __getitem__(self, rows: Any) -> Any:
        numbers = np.arange(self.shape[0])[rows]
        found = np.empty((len(numbers), *self.shape[1:]), dtype=self.dtype)
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        for number, part in enumerate(self._parts):
            mine = owners == number
            if mine.any():
                found[mine] = part[numbers[mine] - self._starts[number]]
        return found


def _open_npy(path: Path, key: str | None) -> Rows:
    if key is not None:
        raise DataError(f"an npy file holds one array: leave out `data.key` for `{path}`")
    with path.open("rb") as file:
        if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
            raise ValueError("it does not begin as an npy file does")
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _open_npz(path: Path, key: str | None) -> Rows:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        member = archive.getinfo(pick_key(names, key, path=path) + ".npy")
        if member.file_size <= MEMORY_LIMIT:
            with archive.open(member) as file:
                array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
        if member.compress_type == zipfile.ZIP_STORED:
            return _map_stored(path, member)
        # The map keeps the file alive after its name and handle are gone.
        with archive.open(member) as packed, tempfile.TemporaryFile() as unpacked:
            while block := packed.read(1 << 24):
                unpacked.write(block)
            return _map(unpacked, 0)


def _map_stored(path: Path, member: zipfile.ZipInfo) -> Rows:
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
        lengths = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        return _map(file, member.header_offset + _LOCAL_HEADER + lengths)


def _map(file: IO[bytes], start: int) -> Rows:
    """Memory-map the npy content that begins at byte `start`."""
    file.seek(start)
    shape, fortran, dtype = read_npy_header(file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    order: Literal["C", "F"] = "F" if fortran else "C"
    rows: Rows = np.memmap(
        cast(BinaryIO, file), dtype=dtype, shape=shape, order=order, mode="r", offset=file.tell()
    )
    return rows


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the columns come first, and type; the file then stands at the values.

    Raises:
        KeyError, ValueError: It is no npy content, or of a later version.
    """
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    return shape, fortran, dtype


def _open_hdf5(path: Path, key: str | None) -> Rows:
    file = open_hdf5(path)
    names = dataset_names(file)
    return Hdf5Rows(file[pick_key(names, key, path=path)])


def open_hdf5(path: Path) -> Any:
    """An open HDF5 file.

    Raises:
        DataError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"`{path}` needs h5py: pip install h5py") from error
    return h5py.File(path, "r")


def dataset_names(file: Any) -> list[str]:
    """Paths of all arrays in an open HDF5 file."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    return [name for name in names if not name.startswith("#")]  # MATLAB's own


def _open_mat(path: Path, key: str | None) -> Rows:
    """A MATLAB file; version 7.3 is HDF5, with the sides of each array in reverse."""
    if is_hdf5(path):
        file = open_hdf5(path)
        dataset = file[pick_key(dataset_names(file), key, path=path)]
        return np.asarray(dataset).T
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        names = [name for name, _, _ in whosmat(path)]
        name = pick_key(names, key, path=path)
        array: NDArray[Any] = loadmat(path, variable_names=[name])[name]
    except MatReadError as error:
        raise ValueError(str(error)) from error
    if array.dtype.hasobject:
        raise ValueError(f"`{name}` is a structure and no array")
    return array


def is_hdf5(path: Path) -> bool:
    """Whether the file is HDF5; MATLAB puts 512 bytes of its own before it."""
    with path.open("rb") as file:
        head = file.read(512 + len(_HDF5_MAGIC))
    return head.startswith(_HDF5_MAGIC) or head[512:] == _HDF5_MAGIC


def _open_tensor(path: Path, key: str | None) -> Rows:
    """A tensor that torch saved, alone or in a dict; objects other than tensors are refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles, which are refused anyway
            content = torch.load(
                path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path)
            )
    except _UNSAFE as error:
        raise DataError(
            f"`{path}` holds more than tensors, and reading it would run code from the file; save "
            "the tensor alone"
        ) from error
    if isinstance(content, dict):
        content = content[pick_key([str(name) for name in content], key, path=path)]
    if not isinstance(content, torch.Tensor):
        raise ValueError(f"it holds a {type(content).__name__} and no tensor")
    array: NDArray[Any] = content.detach().numpy()
    return array
