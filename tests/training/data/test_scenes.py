"""The ray-cast room."""

import pytest
import torch
from torch import Tensor

from training.data.scenes import FACTORS, Scenes


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes("scenes-3d", size=32)


def draw(scenes: Scenes, *rows: list[int]) -> Tensor:
    return scenes.images(FACTORS.indices_of(torch.tensor(rows)))


def test_factors_are_those_of_3d_shapes() -> None:
    assert FACTORS.factor_sizes == (10, 10, 10, 8, 4, 15)
    assert FACTORS.n_images == 480_000


def test_hue_of_a_surface_changes_its_own_pixels_alone(scenes: Scenes) -> None:
    base, floor, wall, thing = draw(
        scenes, [0, 0, 0, 4, 2, 7], [3, 0, 0, 4, 2, 7], [0, 3, 0, 4, 2, 7], [0, 0, 3, 4, 2, 7]
    )
    changed = [((other - base).abs().amax(dim=0) > 0.2) for other in (floor, wall, thing)]
    together = torch.stack(changed).sum(dim=0)
    assert float((together == 1).float().mean()) > 0.95  # the rest are mixed pixels of an edge
    assert bool(changed[2][16, 16])  # the object is in the middle,
    assert bool(changed[0][30].all())  # the floor below,
    assert bool(changed[1][1].all())  # the wall above


def test_scale_makes_the_object_larger(scenes: Scenes) -> None:
    areas = []
    for scale in (0, 4, 7):
        one, other = draw(scenes, [0, 0, 0, scale, 0, 7], [0, 0, 5, scale, 0, 7])
        areas.append(int(((one - other).abs().amax(dim=0) > 0.2).sum()))
    assert areas[0] * 1.5 < areas[1] < areas[2]


def test_object_throws_a_shadow_on_the_floor(scenes: Scenes) -> None:
    image = draw(scenes, [3, 0, 0, 7, 2, 7])[0]
    floor = image[1, 24]  # a green floor's row, brightest where the light falls
    assert float(floor.min()) < 0.7 * float(floor.max())


def test_opposite_orientations_mirror_the_room(scenes: Scenes) -> None:
    left, right = draw(scenes, [0, 5, 0, 0, 2, 0], [0, 5, 0, 0, 2, 14])
    shape = (left[2, :6] > 0.9).float() - (right[2, :6].flip(-1) > 0.9).float()
    assert float(shape.abs().mean()) < 0.5
    assert not torch.equal(left, right)
