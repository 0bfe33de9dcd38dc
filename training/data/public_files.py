"""The public sets as their authors publish them; each becomes an image source with its factors.

Order and sizes of the factors are those of google-research/disentanglement_lib, except that
SmallNORB's instance is a factor here and that Cars3D's cars follow the names of their files.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.array_files import (
    JoinedRows,
    Rows,
    open_array,
    require_file,
)
from training.data.factor_table import factor_table
from training.data.ground_truth import GroundTruth
from training.data.image_folder import ImageFolder, OnBroken
from training.data.source import ImageSource
from training.data.stored_images import StoredImages, shrink_to_bytes
from training.errors import DataError

SHAPES3D_FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
CARS3D_AZIMUTHS, CARS3D_ELEVATIONS = 24, 4
NORB_CHUNKS = ("5x46789x9x18x6x2x96x96-training", "5x01235x9x18x6x2x96x96-testing")
NORB_FACTORS = ("category", "instance", "elevation", "azimuth", "light")
NORB_TYPES = {0x1E3D4C55: "<u1", 0x1E3D4C54: "<i4", 0x1E3D4C51: "<f4", 0x1E3D4C53: "<f8"}
MPI3D_FACTORS = ("color", "shape", "size", "height", "background", "dof_1", "dof_2")
MPI3D_SIZES = ((6, 6, 2, 3, 3, 40, 40), (4, 4, 2, 3, 3, 40, 40))
TEAPOT_FACTORS = ("azimuth", "elevation", "red", "green", "blue")
TEAPOT_PARTS = ("tr", "va", "te")
FACES_FACTORS = ("id", "azimuth", "elevation", "light")
CELEBA_ATTRIBUTES = "list_attr_celeba.txt"
_RESIZE_ROWS = 1024


def open_shapes3d(path: Path, *, size: int) -> StoredImages:
    """`3dshapes.h5`: `images` uint8 and `labels`, whose rows are a full grid."""
    images = open_array(path, key="images")
    labels = _values(path, key="labels", n_columns=len(SHAPES3D_FACTORS))
    grid = GroundTruth(
        SHAPES3D_FACTORS, tuple(tuple(np.unique(column).tolist()) for column in labels.T)
    )
    is_grid = grid.n_images == len(labels) == images.shape[0]
    if not is_grid or not np.allclose(grid.values_at(torch.arange(len(labels))), labels):
        raise DataError(
            f"the rows of `labels` in `{path}` must be a full grid, last factor fastest; get "
            "`3dshapes.h5` again from its source"
        )
    return StoredImages("3dshapes", images, files=[path], size=size, factors=grid)


def _values(path: Path, *, key: str, n_columns: int) -> NDArray[np.float64]:
    """The array `key` of factor values, (n, n_columns)."""
    values = np.asarray(open_array(path, key=key)[:])
    if values.ndim != 2 or values.shape[1] != n_columns or values.dtype.kind not in "iuf":
        raise DataError(
            f"`{key}` of `{path}` has the shape {values.shape} and holds {values.dtype}: numbers "
            f"in {n_columns} columns are needed"
        )
    if not np.isfinite(values).all():
        raise DataError(f"`{key}` of `{path}` must be finite: it has NaN or infinite values")
    return values.astype(np.float64)


def open_cars3d(path: Path, *, size: int) -> StoredImages:
    """A folder of MATLAB files, one a car: `im` (H, W, 3, 24 azimuths, 4 elevations)."""
    files = sorted(path.glob("*.mat"))
    if not files:
        raise DataError(f"`data.path` must be the folder with the .mat files of Cars3D: `{path}`")
    cars = []
    for file in files:
        mesh = np.asarray(open_array(file, key="im"))
        is_car = mesh.ndim == 5 and mesh.shape[2:] == (3, CARS3D_AZIMUTHS, CARS3D_ELEVATIONS)
        if not is_car or mesh.dtype != np.uint8:
            raise DataError(
                f"`im` of `{file}` is {mesh.dtype} of the shape {mesh.shape}, not uint8 "
                "(H, W, 3, 24, 4)"
            )
        views = mesh.transpose(4, 3, 0, 1, 2).reshape(-1, *mesh.shape[:3])
        cars.append(shrink_to_bytes(views, size))  # (4 * 24, size, size, 3)
    grid = index_grid(
        ("elevation", "azimuth", "car"), (CARS3D_ELEVATIONS, CARS3D_AZIMUTHS, len(files))
    )
    rows = np.stack(cars, axis=1).reshape(-1, size, size, 3)
    return StoredImages("cars3d", rows, files=files, size=size, factors=grid)


def open_smallnorb(path: Path, *, size: int) -> StoredImages:
    """A folder with the six `smallnorb-…-{dat,cat,info}.mat` files; the left camera's images."""
    images, labels, files = [], [], []
    for chunk in NORB_CHUNKS:
        names = [path / f"smallnorb-{chunk}-{kind}.mat" for kind in ("dat", "cat", "info")]
        pairs, category, info = (read_norb_matrix(name) for name in names)
        images.append(_in_pieces(pairs[:, 0], size))
        labels.append(np.column_stack([category, info]))
        files += names
    classes = np.concatenate(labels).astype(np.int64)
    classes = np.stack([np.unique(c, return_inverse=True)[1] for c in classes.T], axis=1)
    sizes = tuple(int(column.max()) + 1 for column in classes.T)
    grid = index_grid(NORB_FACTORS, sizes)
    order = np.argsort(grid.indices_of(torch.from_numpy(classes)).numpy(), kind="stable")
    if not np.array_equal(np.ravel_multi_index(classes[order].T, sizes), np.arange(grid.n_images)):
        raise DataError(f"the images in `{path}` must show each combination of factors once")
    return StoredImages(
        "smallnorb", np.concatenate(images)[order], files=files, size=size, factors=grid
    )


def read_norb_matrix(path: Path) -> NDArray[np.generic]:
    """Map a matrix in the format of the NORB sets: magic number, rank, sides, values.

    Raises:
        DataError: It is missing or of another format.
    """
    require_file(path)
    head = np.fromfile(path, dtype="<i4", count=10)
    kind = NORB_TYPES.get(int(head[0])) if len(head) > 1 else None
    if kind is None or not 1 <= head[1] <= 8:
        raise DataError(f"`{path}` is not a NORB matrix: it does not begin with their magic number")
    sides = tuple(int(side) for side in head[2 : 2 + head[1]])
    start = 4 * (2 + max(3, int(head[1])))
    if path.stat().st_size != start + math.prod(sides) * np.dtype(kind).itemsize:
        raise DataError(f"`{path}` ends too early or too late for a matrix of {sides}")
    return np.memmap(path, dtype=kind, mode="r", offset=start, shape=sides)


def _in_pieces(rows: NDArray[np.generic], size: int) -> NDArray[np.uint8]:
    pieces = [
        shrink_to_bytes(np.asarray(rows[start : start + _RESIZE_ROWS]), size)
        for start in range(0, len(rows), _RESIZE_ROWS)
    ]
    return np.concatenate(pieces)


def open_mpi3d(path: Path, *, size: int) -> StoredImages:
    """`mpi3d_{toy,realistic,real}.npz`: `images`; the number of images tells the variant."""
    images = open_array(path, key="images")
    for sizes in MPI3D_SIZES:
        if math.prod(sizes) == images.shape[0]:
            grid = index_grid(MPI3D_FACTORS, sizes)
            return StoredImages("mpi3d", images, files=[path], size=size, factors=grid)
    counts = " or ".join(f"{math.prod(sizes):,}" for sizes in MPI3D_SIZES)
    raise DataError(f"MPI3D has {counts} images: `{path}` has {images.shape[0]:,}")


def open_teapots(path: Path, *, size: int) -> StoredImages:
    """A folder with `imgs_{tr,va,te}.npz` and `gtfs_{tr,va,te}.npz`: continuous factors."""
    files = [path / f"{kind}_{part}.npz" for kind in ("imgs", "gtfs") for part in TEAPOT_PARTS]
    half = len(TEAPOT_PARTS)
    images: list[Rows] = [open_array(file, key="data") for file in files[:half]]
    for file, part in zip(files[:half], images, strict=True):
        if (part.shape[1:], part.dtype) != (images[0].shape[1:], images[0].dtype):
            raise DataError(
                f"the parts of Teapots are alike: `{file}` has {part.dtype} of {part.shape[1:]}, "
                f"not {images[0].dtype} of {images[0].shape[1:]} as `{files[0].name}`"
            )
    table = np.concatenate(
        [_values(file, key="data", n_columns=len(TEAPOT_FACTORS)) for file in files[half:]]
    )
    joined = JoinedRows(images)
    if joined.shape[0] != len(table):
        raise DataError(f"`{path}` has {joined.shape[0]} images and {len(table)} rows of factors")
    factors = factor_table(TEAPOT_FACTORS, table)
    return StoredImages("teapots", joined, files=files, size=size, factors=factors)


def open_faces3d(path: Path, *, size: int) -> StoredImages:
    """`basel_face_renders.pth`: one uint8 tensor (id, azimuth, elevation, light, H, W)."""
    renders = np.asarray(open_array(path))
    if renders.ndim != 6 or renders.dtype != np.uint8:
        raise DataError(
            f"`{path}` must hold a uint8 tensor (id, azimuth, elevation, light, H, W): got "
            f"{renders.dtype} of shape {renders.shape}"
        )
    grid = index_grid(FACES_FACTORS, renders.shape[:4])
    rows = renders.reshape(-1, *renders.shape[4:])
    return StoredImages("3dfaces", rows, files=[path], size=size, factors=grid)


def open_celeba(path: Path, *, size: int, on_broken: OnBroken = "fail") -> ImageFolder:
    """A folder of JPEG files, with `list_attr_celeba.txt` in it or beside it if there is one."""
    folder = ImageFolder("celeba", path, size=size, channels=3, on_broken=on_broken)
    for place in (path, path.parent):
        if (place / CELEBA_ATTRIBUTES).is_file():
            names, values = _celeba_attributes(place / CELEBA_ATTRIBUTES, folder.paths)
            folder.factors = factor_table(names, values)
            break
    return folder


def _celeba_attributes(
    path: Path, pictures: Sequence[Path]
) -> tuple[list[str], NDArray[np.float64]]:
    """Names on the second line; then a file name and values of -1 and 1 a line."""
    try:
        _, names, *lines = path.read_text(encoding="utf-8").splitlines()
        rows = {
            line.split()[0]: [float(cell) for cell in line.split()[1:]] for line in lines if line
        }
    except (ValueError, IndexError) as error:
        raise DataError(
            f"`{path}` is not CelebA's list of attributes: {error}; get it again, or remove it"
        ) from error
    columns = names.split()
    missing = [
        picture.name for picture in pictures if len(rows.get(picture.name, [])) != len(columns)
    ]
    if missing or not columns:
        raise DataError(
            f"`{path}` has no line of {len(columns)} attributes for {len(missing)} images, such as "
            f"`{(missing or [pictures[0].name])[0]}`"
        )
    return columns, np.array([rows[picture.name] for picture in pictures])


def open_chairs3d(path: Path, *, size: int, on_broken: OnBroken = "fail") -> ImageFolder:
    """A folder of PNG files, searched recursively; no factors are known."""
    return ImageFolder("3dchairs", path, size=size, channels=3, on_broken=on_broken)


def index_grid(names: Sequence[str], sizes: Sequence[int]) -> GroundTruth:
    """A grid whose values are the numbers of the classes."""
    return GroundTruth(tuple(names), tuple(tuple(map(float, range(size))) for size in sizes))


PUBLIC: dict[str, Callable[..., ImageSource]] = {
    "3dshapes": open_shapes3d,
    "cars3d": open_cars3d,
    "smallnorb": open_smallnorb,
    "mpi3d": open_mpi3d,
    "teapots": open_teapots,
    "3dfaces": open_faces3d,
    "celeba": open_celeba,
    "3dchairs": open_chairs3d,
}
