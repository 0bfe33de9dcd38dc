"""Arrays in files of every accepted kind, in memory and on disk."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from training.data import array_files
from training.data.array_files import JoinedRows, open_array
from training.errors import DataError

ARRAY = np.arange(7 * 4 * 4, dtype=np.uint8).reshape(7, 4, 4)
PICKED = np.array([5, 0, 5, 3])


def write(path: Path, array: np.ndarray = ARRAY) -> Path:
    """Write `array` as `images`, in the format that the suffix says."""
    match path.suffix:
        case ".npy":
            np.save(path, array)
        case ".npz":
            np.savez_compressed(path, images=array, labels=np.arange(7))
        case ".h5":
            with h5py.File(path, "w") as file:
                file.create_dataset("images", data=array, compression="gzip")
        case ".mat":
            scipy.io.savemat(path, {"images": array}, do_compression=True)
        case _:
            torch.save(torch.from_numpy(array), path)
    return path


@pytest.fixture(params=["a.npy", "a.npz", "a.h5", "a.mat", "a.pt"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / request.param)


def test_open_array_gives_rows_in_the_order_asked_for(file: Path) -> None:
    rows = open_array(file)
    assert rows.shape == ARRAY.shape
    np.testing.assert_array_equal(rows[PICKED], ARRAY[PICKED])


def test_open_array_gives_the_same_when_it_stays_on_disk(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "MEMORY_LIMIT", 10)
    rows = open_array(file)
    if file.suffix != ".mat":
        assert not (isinstance(rows, np.ndarray) and rows.flags.owndata)
    np.testing.assert_array_equal(rows[PICKED], ARRAY[PICKED])


def test_open_array_maps_an_uncompressed_npz_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "MEMORY_LIMIT", 10)
    path = tmp_path / "a.npz"
    np.savez(path, images=ARRAY, other=np.arange(3))
    rows = open_array(path)
    assert isinstance(rows, np.memmap)
    assert Path(str(rows.filename)) == path
    np.testing.assert_array_equal(rows[PICKED], ARRAY[PICKED])


def test_open_array_reads_a_matlab_file_of_version_7_3(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = ARRAY.T  # MATLAB writes columns first
    np.testing.assert_array_equal(open_array(path)[PICKED], ARRAY[PICKED])


def test_open_array_takes_the_key_of_several(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, left=ARRAY, right=ARRAY + 1)
    np.testing.assert_array_equal(open_array(path, key="right")[PICKED], ARRAY[PICKED] + 1)
    with pytest.raises(DataError, match=r"holds left, right: name the images with `data.key`"):
        open_array(path)
    with pytest.raises(DataError, match="has no array `top`: it has left, right"):
        open_array(path, key="top")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".mat", ".pt", ".pth"])
def test_open_array_says_that_a_file_is_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"nothing that anyone can read" * 9)
    with pytest.raises(DataError, match=r"cannot be read|holds more than tensors"):
        open_array(path)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, or with a few other bytes, at the start or anywhere."""
    if rng.random() < 0.2:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    end = min(400, len(content)) if rng.random() < 0.5 else len(content)
    for place in rng.integers(end, size=rng.choice([1, 3, 20])):
        changed[place] = rng.integers(256)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
def test_open_array_names_a_file_whatever_is_damaged_in_it(file: Path) -> None:
    rng = np.random.default_rng(4)
    content = file.read_bytes()
    refused: list[str] = []
    for _ in range(150):
        file.write_bytes(damaged(content, rng))
        try:
            open_array(file)
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert [text for text in refused if f"`{file}`" not in text] == []


def test_rows_that_turn_out_damaged_when_they_are_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "MEMORY_LIMIT", 10)
    path = write(tmp_path / "a.h5")
    with h5py.File(path) as file:
        place = file["images"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 9] = b"no deflat"
    path.write_bytes(bytes(content))
    rows = open_array(path)
    with pytest.raises(DataError, match=r"a\.h5` cannot be read: .*; restore it from its source"):
        rows[PICKED]


def test_open_array_says_that_a_file_is_missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        open_array(tmp_path / "a.npy")
    with pytest.raises(DataError, match="is a folder"):
        open_array(tmp_path)
    (tmp_path / "a.doc").write_text("hello")
    with pytest.raises(DataError, match=r"arrays are read from \.npy, \.npz"):
        open_array(tmp_path / "a.doc")


@pytest.mark.parametrize("shape", [(), (0, 4, 4)])
def test_open_array_explains_an_array_without_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(DataError, match=r"one in each row: .* has the shape") as caught:
        open_array(path)
    assert str(shape) in str(caught.value)


def test_open_array_never_advises_to_unpickle(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"nothing that anyone can read")
    with pytest.raises(DataError, match="does not begin as an npy file does; restore it"):
        open_array(path)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a file's code was run",)


def test_open_array_never_unpickles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(Bomb(), dtype=object))
    np.savez(tmp_path / "a.npz", images=np.array(Bomb(), dtype=object))
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Bomb()))
    torch.save({"images": Bomb()}, tmp_path / "b.pth")
    for name in ("a.npy", "a.npz", "a.pth", "b.pth"):
        with pytest.raises(DataError):
            open_array(tmp_path / name)


def test_joined_rows_are_the_parts_in_order() -> None:
    rows = JoinedRows([ARRAY[:2], ARRAY[2:3], ARRAY[3:]])
    assert rows.shape == ARRAY.shape
    np.testing.assert_array_equal(rows[PICKED], ARRAY[PICKED])
    np.testing.assert_array_equal(rows[:], ARRAY)
