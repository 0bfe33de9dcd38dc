import math

import pytest
import torch

from training.drawing_changes import describe_sweep, measure, signed_change

SIDE = 64
INK, PAPER = (1.0,), (0.0,)


def ellipse(
    x: float = 32,
    y: float = 32,
    *,
    long: float = 14,
    short: float = 7,
    degrees: float = 0,
    colors: tuple[tuple[float, ...], tuple[float, ...]] = (INK, PAPER),
) -> torch.Tensor:
    """(channels, 64, 64); `degrees` of the long axis, clockwise from the right."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    dx, dy = columns - x, rows - y
    turn = math.radians(degrees)
    along = dx * math.cos(turn) + dy * math.sin(turn)
    across = dy * math.cos(turn) - dx * math.sin(turn)
    inside = (along / long) ** 2 + (across / short) ** 2 <= 1
    layers = [torch.where(inside, front, back) for front, back in zip(*colors, strict=True)]
    return torch.stack(layers).float()


def sweep(**ends: tuple[float, float]) -> torch.Tensor:
    """Seven ellipses whose settings run from the first to the second value."""
    steps = [index / 6 for index in range(7)]
    return torch.stack(
        [ellipse(**{key: a + (b - a) * t for key, (a, b) in ends.items()}) for t in steps]
    )


def test_moments_are_those_of_an_ellipse() -> None:
    found = measure(ellipse(20, 40, long=16, short=8, degrees=30))
    assert found is not None
    assert (found.x, found.y) == pytest.approx((20, 40), abs=0.1)
    assert found.ink == pytest.approx(math.pi * 16 * 8, rel=0.02)
    assert found.size == pytest.approx(math.sqrt((16**2 + 8**2) / 4), rel=0.02)
    assert found.elongation == pytest.approx(2, rel=0.02)
    assert math.degrees(found.angle) == pytest.approx(30, abs=1)


def test_dark_ink_on_light_paper_measures_the_same() -> None:
    light, dark = (
        measure(ellipse(degrees=20)),
        measure(ellipse(degrees=20, colors=(PAPER, INK))),
    )
    assert light is not None
    assert dark is not None
    assert (light.x, light.size, light.angle) == pytest.approx((dark.x, dark.size, dark.angle))


@pytest.mark.parametrize(
    ("ends", "phrases"),
    [
        ({"x": (20, 41)}, ["moves 21 pixels to the right"]),
        ({"x": (41, 20), "y": (25, 35)}, ["moves 21 pixels to the left", "moves 10 pixels down"]),
        ({"y": (40, 24)}, ["moves 16 pixels up"]),
        ({"long": (8, 16), "short": (4, 8)}, ["grows 2.0 times as large"]),
        ({"long": (16, 8), "short": (8, 4)}, ["shrinks to 50% in size"]),
        ({"degrees": (-60, 90)}, ["turns 150 degrees clockwise"]),
        ({"degrees": (90, -60)}, ["turns 150 degrees counterclockwise"]),
        ({"long": (9, 13), "short": (13, 9)}, ["becomes 2.1 times as wide for its height"]),
        ({"x": (32, 32.4)}, []),
    ],
)
def test_sweep_is_told_in_words(ends: dict[str, tuple[float, float]], phrases: list[str]) -> None:
    assert describe_sweep(sweep(**ends)) == phrases


def test_round_drawing_does_not_turn() -> None:
    assert describe_sweep(sweep(long=(10, 10), short=(10, 10), degrees=(0, 80))) == []


def test_paler_drawing_loses_ink() -> None:
    frames = torch.stack([ellipse(colors=((level,), PAPER)) for level in (1.0, 0.8, 0.5)])
    assert describe_sweep(frames) == ["keeps 50% of the ink"]


@pytest.mark.parametrize("last", [(0.0, 0.0, 1.0), (1.0, 1.0, 0.0)])
def test_color_is_told_from_first_to_last_and_takes_no_ink(last: tuple[float, ...]) -> None:
    black = (0.0, 0.0, 0.0)
    frames = torch.stack([ellipse(colors=(color, black)) for color in ((1.0, 0.0, 0.0), last)])
    shown = "".join(f"{round(255 * level):02x}" for level in last)
    assert describe_sweep(frames) == [f"changes color from #ff0000 to #{shown}"]


def test_drawing_may_come_or_go_or_never_be_there() -> None:
    blank = torch.zeros(1, SIDE, SIDE)
    assert describe_sweep(torch.stack([blank, ellipse()])) == ["appears"]
    assert describe_sweep(torch.stack([ellipse(), blank])) == ["disappears"]
    assert describe_sweep(torch.stack([blank, blank])) == []


def test_drawing_may_be_empty_half_way() -> None:
    frames = torch.stack([ellipse(x=20), torch.zeros(1, SIDE, SIDE), ellipse(x=40)])
    assert describe_sweep(frames) == ["moves 20 pixels to the right"]


def test_signed_change_is_positive_where_it_gets_brighter() -> None:
    change = signed_change(torch.stack([ellipse(x=16), ellipse(x=48)]))
    assert change[32, 48] == 1
    assert change[32, 16] == -1
    assert change[0, 0] == 0
