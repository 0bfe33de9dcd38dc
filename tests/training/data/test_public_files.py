"""Small files in the official formats of the public sets, read through the one way in."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from training.config import DataConfig
from training.data import FactorTable, GroundTruth, ImageSource, open_images
from training.data.public_files import NORB_CHUNKS
from training.errors import DataError

RNG = np.random.default_rng(11)


def opened(name: str, path: Path, size: int = 8) -> ImageSource:
    return open_images(DataConfig(name=name, path=path, size=size))


def pixels(n: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


def as_images(rows: np.ndarray) -> torch.Tensor:
    """uint8 (n, H, W) or (n, H, W, 3) as an image source gives them."""
    rows = rows[:, None] if rows.ndim == 3 else rows.transpose(0, 3, 1, 2)
    return torch.from_numpy(rows.copy()).float() / 255


def grid_of(source: ImageSource) -> GroundTruth:
    assert isinstance(source.factors, GroundTruth)
    return source.factors


def write_shapes3d(path: Path, *, shuffled: bool = False) -> np.ndarray:
    axes = [np.linspace(0, 0.9, 2), np.linspace(0, 0.9, 3), np.linspace(0, 0.9, 2)]
    axes += [np.linspace(0.75, 1.25, 2), np.arange(4.0), np.linspace(-30, 30, 3)]
    labels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 6)
    images = pixels(len(labels), 8, 8, 3)
    with h5py.File(path, "w") as file:
        file["images"] = images
        file["labels"] = labels[::-1] if shuffled else labels
    return images


def test_shapes3d_is_a_grid_of_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "3dshapes.h5"
    images = write_shapes3d(path)
    source = opened("3dshapes", path)
    assert grid_of(source).factor_sizes == (2, 3, 2, 2, 4, 3)
    assert grid_of(source).factor_values[5] == (-30, 0, 30)
    index = grid_of(source).indices_of(torch.tensor([[1, 2, 0, 1, 3, 1]]))
    torch.testing.assert_close(source.images(index), as_images(images[index.numpy()]))


def test_shapes3d_in_another_order_is_refused(tmp_path: Path) -> None:
    write_shapes3d(tmp_path / "3dshapes.h5", shuffled=True)
    with pytest.raises(DataError, match="must be a full grid, last factor fastest"):
        opened("3dshapes", tmp_path / "3dshapes.h5")


def test_shapes3d_with_labels_that_are_none_is_refused(tmp_path: Path) -> None:
    write_shapes3d(tmp_path / "3dshapes.h5")
    with h5py.File(tmp_path / "3dshapes.h5", "r+") as file:
        n_images = len(file["labels"])
        del file["labels"]
        file["labels"] = np.full((n_images, 6), b"red")
    with pytest.raises(DataError, match=r"holds .*: numbers in 6 columns are needed"):
        opened("3dshapes", tmp_path / "3dshapes.h5")


def test_cars3d_orders_elevation_azimuth_car(tmp_path: Path) -> None:
    meshes = []
    for k in range(2):
        meshes.append(RNG.integers(0, 256, (8, 8, 3, 24, 4), dtype=np.uint8))
        scipy.io.savemat(tmp_path / f"car_{k:03}_mesh.mat", {"im": meshes[-1]})
    source = opened("cars3d", tmp_path)
    assert grid_of(source).factor_names == ("elevation", "azimuth", "car")
    assert grid_of(source).factor_sizes == (4, 24, 2)
    index = grid_of(source).indices_of(torch.tensor([[3, 17, 1]]))
    torch.testing.assert_close(source.images(index), as_images(meshes[1][None, ..., 17, 3]))


def test_cars3d_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder with the \.mat files of Cars3D"):
        opened("cars3d", tmp_path)
    scipy.io.savemat(tmp_path / "car.mat", {"im": np.zeros((8, 8, 3, 5))})
    with pytest.raises(DataError, match=r"not uint8 \(H, W, 3, 24, 4\)"):
        opened("cars3d", tmp_path)
    scipy.io.savemat(tmp_path / "car.mat", {"im": RNG.random((8, 8, 3, 24, 4))})
    with pytest.raises(DataError, match=r"is float64 of the shape .*, not uint8"):
        opened("cars3d", tmp_path)


def write_norb_matrix(path: Path, array: np.ndarray) -> None:
    magic = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}[str(array.dtype)]
    sides = [*array.shape, *[1] * (3 - array.ndim)]
    head = struct.pack(f"<{2 + len(sides)}i", magic, array.ndim, *sides)
    path.write_bytes(head + array.tobytes())


def write_smallnorb(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two chunks of 2 categories, 2 x 2 instances, 2 elevations, 3 azimuths, 2 lights."""
    images, labels = [], []
    for chunk, instances in zip(NORB_CHUNKS, ([4, 6], [0, 1]), strict=True):
        axes = ([0, 1], instances, [0, 1], [0, 2, 4], [0, 1])
        rows = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 5)
        rows = RNG.permutation(rows).astype(np.int32)
        pairs = RNG.integers(0, 256, (len(rows), 2, 8, 8), dtype=np.uint8)
        write_norb_matrix(folder / f"smallnorb-{chunk}-dat.mat", pairs)
        write_norb_matrix(folder / f"smallnorb-{chunk}-cat.mat", rows[:, 0].copy())
        write_norb_matrix(folder / f"smallnorb-{chunk}-info.mat", rows[:, 1:].copy())
        images.append(pairs[:, 0])
        labels.append(rows)
    return np.concatenate(images), np.concatenate(labels)


def test_smallnorb_is_sorted_into_a_grid_of_the_left_images(tmp_path: Path) -> None:
    images, labels = write_smallnorb(tmp_path)
    source = opened("smallnorb", tmp_path)
    assert grid_of(source).factor_sizes == (2, 4, 2, 3, 2)
    index = grid_of(source).indices_of(torch.tensor([[1, 3, 0, 2, 1]]))  # instance 6, azimuth 4
    row = np.flatnonzero((labels == [1, 6, 0, 4, 1]).all(axis=1))
    torch.testing.assert_close(source.images(index), as_images(images[row]))


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"MATLAB 5.0 MAT-file, Platform" * 4, "magic number"), (None, "ends too early or too late")],
)
def test_smallnorb_of_another_form_is_refused(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    write_smallnorb(tmp_path)
    path = tmp_path / f"smallnorb-{NORB_CHUNKS[0]}-dat.mat"
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(DataError, match=text):
        opened("smallnorb", tmp_path)


def test_mpi3d_takes_its_sizes_from_the_number_of_images(tmp_path: Path) -> None:
    path = tmp_path / "mpi3d_real.npz"
    images = np.zeros((460_800, 2, 2, 3), np.uint8)
    images[123_456] = 200
    np.savez_compressed(path, images=images)
    source = opened("mpi3d", path, size=2)
    assert grid_of(source).factor_sizes == (4, 4, 2, 3, 3, 40, 40)
    assert float(source.images(torch.tensor([123_456])).mean()) == pytest.approx(200 / 255)
    np.savez(path, images=images[:7])
    with pytest.raises(DataError, match="MPI3D has 1,036,800 or 460,800 images"):
        opened("mpi3d", path, size=2)


def test_teapots_join_their_parts_with_continuous_factors(tmp_path: Path) -> None:
    images, factors = {}, {}
    for part, n in (("tr", 30), ("va", 12), ("te", 9)):
        images[part], factors[part] = pixels(n, 8, 8, 3), RNG.random((n, 5))
        np.savez(tmp_path / f"imgs_{part}.npz", data=images[part])
        np.savez(tmp_path / f"gtfs_{part}.npz", data=factors[part])
    source = opened("teapots", tmp_path)
    assert source.n_images == 51
    torch.testing.assert_close(source.images(torch.tensor([31])), as_images(images["va"][1:2]))
    assert isinstance(source.factors, FactorTable)
    assert source.factors.factor_names == ("azimuth", "elevation", "red", "green", "blue")
    assert source.factors.factor_sizes == (10,) * 5
    np.testing.assert_array_equal(source.factors.values_at(torch.tensor([42]))[0], factors["te"][0])


def test_teapots_of_another_form_are_refused(tmp_path: Path) -> None:
    for part in ("tr", "va", "te"):
        np.savez(tmp_path / f"imgs_{part}.npz", data=pixels(5, 8, 8, 3))
        np.savez(tmp_path / f"gtfs_{part}.npz", data=RNG.random((5, 5)))
    for name, array, told in (
        ("gtfs_va", np.full((5, 5), np.nan), "must be finite"),
        ("gtfs_va", np.full((5, 5), "a"), "holds <U1: numbers in 5 columns are needed"),
        ("gtfs_va", RNG.random((5, 4)), r"has the shape \(5, 4\) .* in 5 columns"),
        ("imgs_te", pixels(5, 6, 6, 3), r"parts of Teapots are alike: .*imgs_te\.npz`"),
    ):
        np.savez(tmp_path / f"{name}.npz", data=array)
        with pytest.raises(DataError, match=told):
            opened("teapots", tmp_path)


def test_faces3d_is_read_without_running_code(tmp_path: Path) -> None:
    path = tmp_path / "basel_face_renders.pth"
    renders = RNG.integers(0, 256, (2, 3, 2, 2, 8, 8), dtype=np.uint8)
    # The published file is in torch's format of 2018.
    torch.save(torch.from_numpy(renders), path, _use_new_zipfile_serialization=False)
    source = opened("3dfaces", path)
    assert grid_of(source).factor_names == ("id", "azimuth", "elevation", "light")
    index = grid_of(source).indices_of(torch.tensor([[1, 2, 0, 1]]))
    torch.testing.assert_close(source.images(index), as_images(renders[1, 2, 0, 1][None]))


def write_pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(RNG.integers(0, 256, (22, 18, 3), dtype=np.uint8)).save(folder / name)


def test_celeba_finds_its_attributes_beside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "img_align_celeba"
    write_pictures(folder, ["000001.jpg", "000002.jpg"])
    (tmp_path / "list_attr_celeba.txt").write_text(
        "2\nMale Smiling \n000001.jpg -1  1\n000002.jpg  1  1\n"
    )
    source = opened("celeba", folder)
    assert (source.n_images, source.image_shape) == (2, (3, 8, 8))
    assert isinstance(source.factors, FactorTable)
    assert source.factors.factor_names == ("Male", "Smiling")
    assert source.factors.values_at(torch.tensor([0])).tolist() == [[-1, 1]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not CelebA's list of attributes: not enough values"),
        (b"\xff\xfe", "is not CelebA's list of attributes: 'utf-8'"),
        (b"1\nMale Bald\n000001.jpg 1 x\n", "could not convert string to float: 'x'"),
        (b"1\nMale Bald\n000001.jpg 1\n", "no line of 2 attributes for 1 images, such as `000001"),
        (b"1\nMale\n000001.jpg 1 1\n", "no line of 1 attributes for 1 images"),
        (b"1\n\n000001.jpg\n", "no line of 0 attributes"),
        (b"1\nMale\n000002.jpg 1\n", "no line of 1 attributes for 1 images, such as `000001.jpg`"),
    ],
)
def test_celeba_attributes_of_another_form_are_refused(
    tmp_path: Path, content: bytes, told: str
) -> None:
    write_pictures(tmp_path, ["000001.jpg"])
    (tmp_path / "list_attr_celeba.txt").write_bytes(content)
    with pytest.raises(DataError, match=told):
        opened("celeba", tmp_path)


def test_celeba_without_attributes_has_no_factors(tmp_path: Path) -> None:
    write_pictures(tmp_path / "celeba", ["000001.jpg"])
    assert opened("celeba", tmp_path / "celeba").factors is None


def test_chairs3d_is_a_folder_of_folders(tmp_path: Path) -> None:
    write_pictures(tmp_path / "chair_a", ["r000.png", "r010.png"])
    write_pictures(tmp_path / "chair_b", ["r000.png"])
    assert (opened("3dchairs", tmp_path).n_images, opened("3dchairs", tmp_path).factors) == (
        3,
        None,
    )


@pytest.mark.parametrize("name", ["3dshapes", "mpi3d", "3dfaces", "celeba", "images", "vectors"])
def test_set_that_is_read_asks_for_its_path(name: str) -> None:
    with pytest.raises(DataError, match=f"`{name}` is read and not drawn: give its file or folder"):
        open_images(DataConfig(name=name))
