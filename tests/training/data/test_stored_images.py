"""Arrays of images: order of the sides, range of the values, size and channels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.config import DataConfig
from training.data import ImageSource, notes_on, open_images
from training.data.stored_images import fit_pixels
from training.errors import DataError

RNG = np.random.default_rng(7)
COLOR = RNG.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
PICKED = torch.tensor([8, 0, 3])


def opened(folder: Path, array: np.ndarray, **changes: object) -> ImageSource:
    np.save(folder / "set.npy", array)
    settings = {"name": "images", "path": folder / "set.npy", "size": 16} | changes
    return open_images(DataConfig(**settings))


@pytest.mark.parametrize(
    "order",
    [(0, 1, 2, 3), (0, 3, 1, 2), (1, 2, 3, 0)],
    ids=["channels last", "channels first", "images last"],
)
def test_images_of_any_order_of_sides_are_the_same(tmp_path: Path, order: tuple[int, ...]) -> None:
    source = opened(tmp_path, COLOR.transpose(order))
    assert (source.n_images, source.image_shape) == (9, (3, 16, 16))
    expected = torch.from_numpy(COLOR[PICKED.numpy()]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(source.images(PICKED), expected)


@pytest.mark.parametrize("level", [0, 255], ids=["light on dark", "dark on light"])
@pytest.mark.parametrize(
    "order",
    [(0, 1, 2, 3), (0, 3, 1, 2), (1, 2, 3, 0)],
    ids=["channels last", "channels first", "images last"],
)
def test_transparent_images_are_read_as_pictures_are(
    tmp_path: Path, level: int, order: tuple[int, ...]
) -> None:
    images = np.full((9, 16, 16, 4), level, np.uint8)
    images[..., 3] = 255
    images[:, 4:12, 4:12] = RNG.integers(0, 256, (9, 8, 8, 4), dtype=np.uint8)
    images[:, 2, 2] = 0
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k}.png")
    array = opened(tmp_path, images.transpose(order))
    pictures = open_images(DataConfig(name="images", path=folder, size=16, channels=3))
    torch.testing.assert_close(array.images(PICKED), pictures.images(PICKED), atol=0.01, rtol=0)
    color = "white" if level else "black"
    assert notes_on(array) == [
        f"the fourth channel is taken for alpha: transparent parts show {color}"
    ]


def test_four_images_in_the_order_of_matlab_have_no_alpha(tmp_path: Path) -> None:
    source = opened(tmp_path, COLOR[:4].transpose(1, 2, 3, 0))
    assert (source.n_images, notes_on(source)) == (4, [])


def test_flat_rows_are_square_gray_images(tmp_path: Path) -> None:
    gray = COLOR[..., 0]
    flat, square = (opened(tmp_path, rows).images(PICKED) for rows in (gray.reshape(9, -1), gray))
    assert torch.equal(flat, square)
    assert square.shape == (3, 1, 16, 16)


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        *((1, "u1"), (1, "?"), (1, "f4"), (255, "u1"), (255, "f8"), (255, "i8"), (65_535, "u2")),
        *((16, "f8"), (7, "u1"), (4095, "u2")),  # scikit-learn's digits, a label map, 12 bits
    ],
)
def test_values_of_any_range_become_0_and_1(tmp_path: Path, scale: float, dtype: str) -> None:
    bits = RNG.integers(0, 2, (9, 16, 16))
    source = opened(tmp_path, (bits * scale).astype(dtype))
    assert torch.equal(source.images(PICKED)[:, 0], torch.from_numpy(bits[PICKED.numpy()]).float())


@pytest.mark.parametrize(
    ("high", "notes"),
    [
        (9, ["values of 0 to 15 become 0 to 1"]),
        (16, ["values of 0 to 16 become 0 to 1"]),
        (17, []),
        (4000, ["values of 0 to 4095 become 0 to 1"]),
        (5000, []),
    ],
)
def test_unusual_range_is_told(tmp_path: Path, high: int, notes: list[str]) -> None:
    source = opened(tmp_path, RNG.integers(0, high + 1, (99, 16, 16)).astype("u2"))
    assert notes_on(source) == notes


def test_fractions_that_rounding_took_above_1_are_taken(tmp_path: Path) -> None:
    source = opened(tmp_path, np.full((3, 16, 16), np.nextafter(np.float32(1), 2)))
    assert notes_on(source) == []
    assert float(source.images(PICKED[2:3] - 1).mean()) == pytest.approx(1)


def test_dark_fractions_stay_dark(tmp_path: Path) -> None:
    source = opened(tmp_path, np.full((3, 16, 16), 0.01))
    assert notes_on(source) == []
    assert float(source.images(PICKED[2:3] - 1).mean()) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.full((3, 8, 8), -1.0), "pixels must lie in 0 to 1, 0 to 255 .* has -1 to -1"),
        (np.full((3, 8, 8), np.nan), "has nan to nan"),
        (np.full((3, 8, 8), 1.02), r"has 1\.02 to 1\.02; shift and scale them"),
        (np.full((3, 8, 8), 1j), "pixels must be numbers: .* holds complex128"),
        (np.zeros((3, 8, 8, 5)), r"with 1, 3 or 4 channels, .* has the shape \(3, 8, 8, 5\)"),
        (np.zeros((3, 7)), r"has the shape \(3, 7\)"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    tmp_path: Path, array: np.ndarray, text: str
) -> None:
    with pytest.raises(DataError, match=text):
        opened(tmp_path, array)


@pytest.mark.parametrize(
    ("value", "dtype", "found"),
    [
        (255, "u1", "0 to 255"),
        (7, "f4", "0 to 7"),
        (-3, "f4", "-3 to 0"),
        (np.nan, "f4", "nan to nan"),
        (np.inf, "f4", "0 to inf"),
    ],
)
def test_rare_value_beyond_the_range_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, dtype: str, found: str
) -> None:
    monkeypatch.setattr("training.data.stored_images.PROBE_IMAGES", 2)
    monkeypatch.setattr("training.data.array_files.MEMORY_LIMIT", 1)
    rows = np.zeros((9, 8, 8), dtype)
    rows[4, 0, 0] = value
    source = opened(tmp_path, rows)
    text = rf"mixes ranges of values: .* within 0 to 1 and image 5 has {found}; repair it"
    with pytest.raises(DataError, match=text):
        source.images(torch.tensor([8, 4]))


def test_other_size_is_resized_as_pillow_does(tmp_path: Path) -> None:
    smooth = np.array(
        [np.asarray(Image.fromarray(image[:5, :5]).resize((16, 16))) for image in COLOR]
    )
    source = opened(tmp_path, smooth, size=10)
    found = source.images(PICKED)
    expected = [
        np.asarray(Image.fromarray(smooth[k]).resize((10, 10), Image.Resampling.BILINEAR))
        for k in PICKED.tolist()
    ]
    pixels = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(found, pixels, atol=1.5 / 255, rtol=0)


def test_channels_become_gray_as_pillow_does(tmp_path: Path) -> None:
    found = opened(tmp_path, COLOR, channels=1).images(PICKED)[:, 0]
    expected = np.stack([np.asarray(Image.fromarray(COLOR[k]).convert("L")) for k in PICKED])
    torch.testing.assert_close(found, torch.from_numpy(expected) / 255, atol=1 / 255, rtol=0)


def test_gray_becomes_three_equal_channels() -> None:
    gray = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    color = fit_pixels(gray, (3, 8, 8))
    assert torch.equal(color, gray.repeat(1, 3, 1, 1))
