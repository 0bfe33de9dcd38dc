"""Images by index: geometry of the drawn sprites, the grid arithmetic, the genuine file."""

import math
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from training.config import DataConfig
from training.data import ImageSource, open_images
from training.errors import DataError

SQUARE, ELLIPSE, HEART = 0, 1, 2
# Area in pixels at scale 1.
AREAS = {
    SQUARE: 19.2**2,
    ELLIPSE: math.pi * 12.8 * 7.2,
    HEART: 0.6 * 0.66 * 180 * math.pi,
}


@pytest.fixture(scope="module")
def sprites() -> ImageSource:
    return open_images(DataConfig(name="dsprites"))


@pytest.fixture(scope="module")
def ovals() -> ImageSource:
    return open_images(DataConfig(name="oval-dsprites"))


def draw(source: ImageSource, *rows: list[int]) -> Tensor:
    assert source.factors is not None
    return source.images(source.factors.indices_of(torch.tensor(rows)))[:, 0]


def center(image: Tensor) -> tuple[float, float]:
    y, x = image.nonzero().double().mean(dim=0) + 0.5
    return float(x), float(y)


def test_full_set_has_the_counts_and_the_order_of_the_original(sprites: ImageSource) -> None:
    factors = sprites.factors
    assert factors is not None
    assert sprites.n_images == 737_280
    assert factors.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert factors.strides() == (245_760, 40_960, 1024, 32, 1)


def test_oval_subset_is_the_second_third_of_the_full_set(
    sprites: ImageSource, ovals: ImageSource
) -> None:
    indices = torch.randint(ovals.n_images, (64,), generator=torch.Generator().manual_seed(3))
    assert ovals.n_images == 245_760
    assert torch.equal(ovals.images(indices), sprites.images(indices + 245_760))


def test_factors_of_inverts_indices_of(sprites: ImageSource) -> None:
    factors = sprites.factors
    assert factors is not None
    indices = torch.arange(0, sprites.n_images, 1009)
    classes = factors.factors_of(indices)
    assert torch.equal(factors.indices_of(classes), indices)
    assert torch.all(classes < torch.tensor(factors.factor_sizes))


def test_values_of_gives_natural_units(ovals: ImageSource) -> None:
    assert ovals.factors is not None
    values = ovals.factors.values_of(torch.tensor([[5, 39, 0, 31], [0, 0, 31, 0]]))
    expected = [[1.0, 2 * math.pi, 0.0, 1.0], [0.5, 0.0, 1.0, 0.0]]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64))


def test_images_are_binary_and_have_the_announced_shape(sprites: ImageSource) -> None:
    images = sprites.images(torch.arange(0, sprites.n_images, 50_021))
    assert images.shape[1:] == sprites.image_shape == (1, 64, 64)
    assert images.dtype == torch.float32
    assert set(images.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("shape", AREAS)
@pytest.mark.parametrize("scale", range(6))
def test_area_of_a_shape_is_that_of_its_formula(
    sprites: ImageSource, shape: int, scale: int
) -> None:
    images = draw(sprites, *[[shape, scale, turn, 16, 16] for turn in range(40)])
    mean_area = float(images.sum(dim=(1, 2)).mean())
    assert mean_area == pytest.approx(AREAS[shape] * (0.5 + 0.1 * scale) ** 2, rel=0.03)


def test_square_without_turn_is_exact(sprites: ImageSource) -> None:
    image = draw(sprites, [SQUARE, 5, 0, 0, 0])[0]
    # Center 16 and half side 9.6: the pixel centers 6.5 to 25.5.
    expected = torch.zeros(64, 64)
    expected[6:26, 6:26] = 1
    assert torch.equal(image, expected)


def test_ellipse_is_long_along_x_without_turn_and_turns_counterclockwise(
    ovals: ImageSource,
) -> None:
    flat, eighth = draw(ovals, [5, 0, 15, 15], [5, 5, 15, 15])
    y, x = flat.nonzero().unbind(dim=1)
    assert (int(x.max() - x.min()) + 1, int(y.max() - y.min()) + 1) == (25, 15)
    y, x = eighth.nonzero().double().unbind(dim=1)
    assert float(((x - x.mean()) * (y - y.mean())).mean()) < -10  # y points down


def test_ellipse_repeats_after_half_a_turn_up_to_the_grid_of_angles(ovals: ImageSource) -> None:
    quarter, opposite = draw(ovals, [5, 3, 9, 20], [5, 3, 22, 11])
    assert torch.equal(quarter, opposite.flip(0, 1))  # the center of symmetry of the canvas


def test_first_and_last_orientation_are_the_same_angle(sprites: ImageSource) -> None:
    for shape in (SQUARE, ELLIPSE, HEART):
        first, last = draw(sprites, [shape, 5, 0, 9, 9], [shape, 5, 39, 9, 9])
        assert torch.equal(first, last)


def test_heart_matches_the_outline_of_its_curve(sprites: ImageSource) -> None:
    """An even-odd test against the polygon of the parametric curve, pixel by pixel."""
    image = draw(sprites, [HEART, 5, 0, 31, 31])[0]
    p = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
    x = 48 + 9.6 * p.sin() ** 3
    curve = 13 * p.cos() - 5 * (2 * p).cos() - 2 * (3 * p).cos() - (4 * p).cos()
    y = 48 - 0.66 * curve - 1.5
    pixels = torch.arange(64, dtype=torch.float64) + 0.5
    py, px = torch.meshgrid(pixels, pixels, indexing="ij")
    x2, y2 = x.roll(-1), y.roll(-1)
    spans = (y > py[..., None]) != (y2 > py[..., None])
    crossing = x + (py[..., None] - y) * (x2 - x) / (y2 - y)
    inside = ((spans & (px[..., None] < crossing)).sum(dim=-1) % 2).float()
    assert int((image != inside).sum()) <= 1


def test_position_moves_the_center_by_32_pixels(ovals: ImageSource) -> None:
    for x, y in ((0, 0), (31, 0), (0, 31), (31, 31), (10, 20)):
        image = draw(ovals, [3, 0, x, y])[0]
        assert center(image) == pytest.approx((16 + 32 * x / 31, 16 + 32 * y / 31), abs=0.5)


def test_half_size_is_another_named_set_of_the_same_scenes(ovals: ImageSource) -> None:
    small = open_images(DataConfig(name="oval-dsprites", size=32))
    index = torch.tensor([123_456])
    assert small.name == "oval-dsprites-32"
    assert small.image_shape == (1, 32, 32)
    assert small.sha256() != ovals.sha256()
    ratio = float(ovals.images(index).sum() / small.images(index).sum())
    assert ratio == pytest.approx(4, rel=0.15)


def test_sha256_is_the_same_each_time_and_source_is_procedural(ovals: ImageSource) -> None:
    again = open_images(DataConfig(name="oval-dsprites"))
    assert ovals.sha256() == again.sha256()
    assert len(ovals.sha256()) == 64
    assert ovals.source == "procedural"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            DataConfig(name="cars"),
            "`data.name` must be one of dsprites, oval-dsprites, .*: got `cars`",
        ),
        (DataConfig(size=48), r"drawn at one of the sizes \(32, 64\): got 48"),
        (DataConfig(path=Path("missing.npz")), "must name a file: `missing.npz` is missing"),
    ],
)
def test_open_images_explains_what_it_cannot_open(config: DataConfig, text: str) -> None:
    with pytest.raises(DataError, match=text):
        open_images(config)


def write_small_sets(folder: Path) -> None:
    """A folder of images, an array of images, a table of an array, and one in CSV."""
    (folder / "pictures").mkdir()
    gray = np.random.default_rng(1).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    for number, pixels in enumerate(gray):
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    np.savez(folder / "images.npz", images=gray)
    np.savez(folder / "rows.npz", rows=np.arange(12.0).reshape(4, 3))
    (folder / "rows.csv").write_text("a,b\n1,2\n3,5\n")


UNREAD = [
    ({"name": "xy-object"}, {"channels": 1}),
    ({"name": "linear-gaussian"}, {"standardize": True}),
    (
        {"name": "oval-dsprites"},
        {
            "channels": 3,
            "key": "q",
            "columns": ("a",),
            "standardize": True,
            "factors": Path("nonexist.csv"),
            "on_broken": "skip",
        },
    ),
    ({"name": "3dchairs", "path": "pictures"}, {"channels": 1, "factors": Path("a.csv")}),
    ({"name": "images", "path": "pictures"}, {"key": "q", "columns": ("a",)}),
    ({"name": "images", "path": "images.npz"}, {"standardize": True, "on_broken": "skip"}),
    ({"name": "vectors", "path": "rows.npz"}, {"channels": 1, "on_broken": "skip"}),
    ({"name": "vectors", "path": "rows.csv"}, {"key": "q"}),
]


@pytest.mark.parametrize(("settings", "unread"), UNREAD)
def test_open_images_refuses_a_setting_that_the_set_does_not_read(
    tmp_path: Path, settings: dict[str, str], unread: dict[str, object]
) -> None:
    write_small_sets(tmp_path)
    if "path" in settings:
        settings = settings | {"path": str(tmp_path / settings["path"])}
    open_images(DataConfig(**settings))
    got = ", ".join(f"`data.{key}` = {value}" for key, value in unread.items())
    with pytest.raises(DataError) as raised:
        open_images(DataConfig(**settings, **unread))
    text = str(raised.value)
    assert text.startswith(f"a setting that is given must be read: `{settings['name']}`")
    assert text.endswith(f"and got {got}; leave that out")


SIZES = (1, 3, 2, 4, 3, 2)


class Bomb:
    """Unpickling this fails the test: `metadata` must never be opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("metadata was unpickled",)


def official_arrays() -> dict[str, np.ndarray]:
    classes = np.stack(np.unravel_index(np.arange(math.prod(SIZES)), SIZES), axis=1)
    rng = np.random.default_rng(0)
    return {
        "imgs": rng.integers(0, 2, (len(classes), 16, 16)).astype(np.uint8),
        "latents_values": classes / 2 + 0.25,
        "latents_classes": classes.astype(np.int64),
    }


def write_official(path: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """A small file in the official format, with a pickled `metadata`."""
    arrays = official_arrays() | changes
    np.savez_compressed(path, metadata=np.array(Bomb(), dtype=object), **arrays)
    return arrays


def test_file_gives_its_own_images_by_index(tmp_path: Path) -> None:
    path = tmp_path / "dsprites.npz"
    arrays = write_official(path)
    images = open_images(DataConfig(name="dsprites", path=path, size=16))
    indices = torch.tensor([5, 0, 143, 5])
    expected = torch.from_numpy(arrays["imgs"][indices]).float().unsqueeze(1)
    assert torch.equal(images.images(indices), expected)
    assert (images.source, images.n_images) == ("file", 144)
    assert images.factors is not None
    assert images.factors.factor_sizes == (3, 2, 4, 3, 2)
    assert images.factors.factor_values[3] == (0.25, 0.75, 1.25)


def test_file_oval_subset_is_the_rows_of_shape_one(tmp_path: Path) -> None:
    path = tmp_path / "dsprites.npz"
    arrays = write_official(path)
    images = open_images(DataConfig(name="oval-dsprites", path=path, size=16))
    rows = arrays["imgs"][arrays["latents_classes"][:, 1] == 1]
    every = images.images(torch.arange(images.n_images))
    assert torch.equal(every[:, 0], torch.from_numpy(rows).float())
    assert images.factors is not None
    assert images.factors.factor_names == ("scale", "orientation", "x", "y")


def test_file_longer_than_one_chunk_keeps_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.dsprites_file.CHUNK_IMAGES", 7)
    path = tmp_path / "dsprites.npz"
    arrays = write_official(path)
    images = open_images(DataConfig(name="dsprites", path=path, size=16))
    every = images.images(torch.arange(images.n_images))
    assert torch.equal(every[:, 0], torch.from_numpy(arrays["imgs"]).float())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"imgs": np.full((144, 16, 16), 255, np.uint8)}, "pixels must be 0 or 1, and 255"),
        ({"imgs": np.zeros((144, 16, 16))}, "`imgs` is float64 of shape"),
        ({"imgs": np.zeros((9, 16, 16), np.uint8)}, "it has 9 images, 144 are needed"),
        ({"latents_classes": np.zeros((144, 6), np.int64)}, "must be a full grid"),
        ({"latents_classes": np.zeros((144, 2), np.int64)}, r"the shapes \(144, 2\)"),
        ({"latents_values": np.array([None] * 3)}, "is not the dSprites file: Object arrays"),
    ],
)
def test_file_with_other_content_is_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], text: str
) -> None:
    path = tmp_path / "dsprites.npz"
    write_official(path, **changes)
    with pytest.raises(DataError, match=text):
        open_images(DataConfig(name="dsprites", path=path, size=16))


def test_file_without_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dsprites.npz"
    arrays = official_arrays()
    del arrays["imgs"]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="it has no array `imgs`"):
        open_images(DataConfig(name="dsprites", path=path, size=16))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a zip", b"text", b"\x93NUMPY"])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dsprites.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not the dSprites file"):
        open_images(DataConfig(name="dsprites", path=path, size=16))


def test_file_with_a_damaged_image_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dsprites.npz"
    write_official(path)
    broken = tmp_path / "broken.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:2000] if name == "imgs.npy" else content)
    with pytest.raises(DataError, match="`imgs` ends too early"):
        open_images(DataConfig(name="dsprites", path=broken, size=16))


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_file_is_named_whatever_is_damaged_in_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dsprites{suffix}"
    (write_official if suffix == ".npz" else write_official_hdf5)(path)
    content, rng = path.read_bytes(), np.random.default_rng(6)
    refused: list[str] = []
    for _ in range(60):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=30):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            open_images(DataConfig(name="dsprites", path=path, size=16))
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 20
    begin = f"`{path}` is not the dSprites file: "
    assert [text for text in refused if not text.startswith(begin)] == []


def test_file_of_another_size_than_configured_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dsprites.npz"
    write_official(path)
    with pytest.raises(DataError, match=r"`data.size` is 64 and .* holds images of \(16, 16\)"):
        open_images(DataConfig(name="dsprites", path=path))


def write_official_hdf5(path: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays = official_arrays() | changes
    with h5py.File(path, "w") as file:
        file["imgs"] = arrays["imgs"]
        file["latents/classes"] = arrays["latents_classes"]
        file["latents/values"] = arrays["latents_values"]
    return arrays


@pytest.mark.parametrize("name", ["dsprites", "oval-dsprites"])
def test_hdf5_file_gives_what_the_npz_file_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("training.data.dsprites_file.CHUNK_IMAGES", 7)
    write_official(tmp_path / "dsprites.npz")
    write_official_hdf5(tmp_path / "dsprites.hdf5")
    npz, hdf5 = (
        open_images(DataConfig(name=name, path=tmp_path / file, size=16))
        for file in ("dsprites.npz", "dsprites.hdf5")
    )
    every = torch.arange(npz.n_images)
    assert torch.equal(hdf5.images(every), npz.images(every))
    assert hdf5.factors == npz.factors


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"imgs": np.full((144, 16, 16), 255, np.uint8)}, "pixels must be 0 or 1, and 255"),
        ({"imgs": np.zeros((144, 16, 16))}, "`imgs` is float64 of shape"),
        ({"imgs": np.zeros((9, 16, 16), np.uint8)}, "it has 9 images, 144 are needed"),
    ],
)
def test_hdf5_file_with_other_content_is_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], text: str
) -> None:
    path = tmp_path / "dsprites.hdf5"
    write_official_hdf5(path, **changes)
    with pytest.raises(DataError, match=text):
        open_images(DataConfig(name="dsprites", path=path, size=16))
