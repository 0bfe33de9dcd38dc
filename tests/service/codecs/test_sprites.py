"""Grids and animations: every frame in its place."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from service.codecs.sprites import encode_animation, encode_grid, sprite_grid
from service.errors import TooManyRows
from tests.service.codecs.pictures import noise, opened


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_puts_every_frame_in_its_place(channels: int) -> None:
    frames = noise(2, 3, channels, 5, 7)
    grid = sprite_grid(frames)
    assert grid.shape[:2] == (2 * 7 - 2, 3 * 9 - 2)
    for row in range(2):
        for column in range(3):
            cell = grid[row * 7 : row * 7 + 5, column * 9 : column * 9 + 7]
            assert (cell.reshape(5, 7, channels) == frames[row, column].transpose(1, 2, 0)).all()


def test_grid_separates_frames_by_two_gray_pixels() -> None:
    grid = sprite_grid(np.zeros((2, 2, 1, 3, 3), np.uint8))
    assert (grid[3:5] == 128).all()
    assert (grid[:, 3:5] == 128).all()
    assert (grid == 128).sum() == 2 * 8 * 2 - 4


def test_grid_of_one_frame_is_the_frame() -> None:
    frames = noise(1, 1, 1, 4, 4)
    assert (sprite_grid(frames) == frames[0, 0, 0]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_encoded_grid_is_the_grid(channels: int) -> None:
    frames = noise(2, 3, channels, 5, 7)
    assert (opened(encode_grid(frames)) == sprite_grid(frames)).all()


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_animation_goes_forth_and_back_for_ever(image_format: str) -> None:
    levels = [0, 80, 160, 240]
    frames = np.stack([np.full((1, 6, 6), level, np.uint8) for level in levels])[None]
    data = encode_animation(frames, image_format=image_format, frame_ms=50)  # type: ignore[arg-type]
    with Image.open(io.BytesIO(data)) as animation:
        seen = []
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.load()
            seen.append(int(np.asarray(animation.convert("L"))[0, 0]))
            assert animation.info["duration"] == 50
        assert animation.format == image_format
        assert animation.info["loop"] == 0
    assert np.abs(np.array(seen) - [0, 80, 160, 240, 160, 80]).max() <= 1


@pytest.mark.parametrize(("image_format", "most"), [("WEBP", 16_383), ("GIF", 65_535)])
def test_animation_that_is_higher_than_its_format_allows_is_refused(
    image_format: Literal["GIF", "WEBP"], most: int
) -> None:
    rows = (most + 2) // 100
    highest = np.zeros((rows, 1, 1, 98, 1), np.uint8)
    assert len(opened(encode_animation(highest, image_format=image_format))) == rows * 100 - 2
    higher = np.zeros((rows + 1, 1, 1, 98, 1), np.uint8)
    with pytest.raises(TooManyRows, match=f"{rows} rows of this height at most; got {rows + 1}"):
        encode_animation(higher, image_format=image_format)


def test_animation_of_one_step_is_a_still() -> None:
    data = encode_animation(noise(2, 1, 1, 4, 4), image_format="WEBP")
    assert opened(data).shape[:2] == (10, 4)
