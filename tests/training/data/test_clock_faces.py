"""Clock faces: does each factor do to the drawing what its name says?"""

import math

import pytest
import torch
from torch import Tensor

from training.data.clock_faces import FACTORS, ClockFaces
from training.data.glyphs import ink, number_strokes

SIZES = dict(zip(FACTORS.factor_names, FACTORS.factor_sizes, strict=True))


@pytest.fixture(scope="module")
def faces() -> ClockFaces:
    return ClockFaces("clock-faces", size=64)


def draw(faces: ClockFaces, **classes: int) -> Tensor:
    """Ink of one face whose other factors are at the middle, (64, 64)."""
    row = [classes.get(name, size // 2) for name, size in SIZES.items()]
    return 1 - faces.draw(torch.tensor([row]))[0, 0]


def extent(image: Tensor) -> tuple[int, int, int, int]:
    """First and last column and row with ink."""
    y, x = (image > 0.3).nonzero().unbind(dim=1)
    return int(x.min()), int(x.max()), int(y.min()), int(y.max())


def test_face_is_dark_on_white_paper_and_fits_the_page(faces: ClockFaces) -> None:
    corner = {"size": 7, "aspect": 6, "x": 7, "y": 7, "pen_width": 3}
    image = 1 - draw(faces, **corner)
    assert float(image[0].min()) > 0.9
    assert float(image[:, 0].min()) > 0.9
    assert float(image.min()) == pytest.approx(0.06, abs=0.02)
    assert 0.5 < float(image.mean()) < 0.95


def test_size_is_the_radius_of_the_outline(faces: ClockFaces) -> None:
    for number in (0, 7):
        left, right, top, bottom = extent(draw(faces, size=number, aspect=3))
        radius = FACTORS.factor_values[0][number]
        assert (right - left + 1) / 2 == pytest.approx(radius + 0.7, abs=1)
        assert (bottom - top + 1) / 2 == pytest.approx(radius + 0.7, abs=1)


def test_aspect_is_width_over_height(faces: ClockFaces) -> None:
    left, right, top, bottom = extent(draw(faces, aspect=6))
    assert (right - left) / (bottom - top) == pytest.approx(math.exp(0.26), abs=0.06)


def test_place_moves_the_face(faces: ClockFaces) -> None:
    before, after = extent(draw(faces, x=0, y=7)), extent(draw(faces, x=7, y=0))
    moves = [later - earlier for earlier, later in zip(before, after, strict=True)]
    assert moves == pytest.approx([7, 7, -7, -7], abs=1)


@pytest.mark.parametrize("hand", ["hour", "minute"])
def test_hand_points_where_its_angle_says_and_reaches_its_length(
    faces: ClockFaces, hand: str
) -> None:
    first, last = (draw(faces, **{f"{hand}_angle": n, f"{hand}_length": n // 2}) for n in (0, 8))
    y, x = ((first - last).abs() > 0.5).nonzero().unbind(dim=1)
    center = 32 + FACTORS.factor_values[2][4]
    assert len(x) > 10
    reach = torch.hypot(x - center, y - center).max()
    longest = FACTORS.factor_values[FACTORS.factor_names.index(f"{hand}_length")][-1]
    assert float(reach) == pytest.approx(longest * FACTORS.factor_values[0][4], abs=2.5)
    side = x < center if hand == "hour" else x > center
    assert float(side.float().mean()) > 0.8


def test_digits_crowd_to_the_right_when_the_spread_is_small(faces: ClockFaces) -> None:
    even, crowded = draw(faces, digit_spread=5), draw(faces, digit_spread=0)
    gap = (slice(16, 30), slice(16, 26))  # upper left, where 10 and 11 belong
    assert float(even[gap].sum()) > float(crowded[gap].sum()) + 3


def test_pen_width_is_the_width_of_the_outline(faces: ClockFaces) -> None:
    totals = [float(draw(faces, pen_width=number)[:, :14].sum()) for number in range(4)]
    assert totals == sorted(totals)
    assert totals[3] / totals[0] == pytest.approx(1.9, abs=0.2)


def test_half_size_shows_the_same_faces(faces: ClockFaces) -> None:
    indices = torch.tensor([123_456, 98_765_432])
    large = torch.nn.functional.avg_pool2d(faces.images(indices), 2)
    small = ClockFaces("clock-faces", size=32).images(indices)
    assert float((large - small).abs().mean()) < 0.03


def test_ink_covers_in_proportion() -> None:
    found = ink(torch.tensor([0.0, 1.0, 1.25, 1.5, 9.0]), 2.0).tolist()
    assert found == [1, 0.5, 0.25, 0, 0]


@pytest.mark.parametrize("number", range(1, 13))
def test_number_strokes_fill_a_box_of_height_one(number: int) -> None:
    ends = number_strokes(number).view(-1, 2)
    assert float(ends[:, 1].max() - ends[:, 1].min()) == pytest.approx(1, abs=0.03)
    assert float(ends[:, 0].abs().max()) < 0.65
