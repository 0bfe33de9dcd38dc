"""What a sweep of a dimension does to the drawing, in words that a ruler could check.

The drawing is whatever differs from the background, the median color of the image's border; its
place, size and turn are the moments of that difference (Hu, "Visual pattern recognition by moment
invariants", 1962). No label is needed, so it says what happens and never what it means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

FAINTEST = 0.05  # of the pixel range; less is the decoder's noise around a drawing
SMALLEST_SHIFT = 0.02  # of the image's width
SMALLEST_RATIO = 1.15
SMALLEST_TURN = math.radians(12)
ROUND = 1.15  # axes more alike than this have no direction
SMALLEST_TINT = 0.1  # root mean square over the channels
PIXEL_VARIANCE = 1 / 12  # of a pixel's own square along each side, so that no drawing is a point
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """Moments of one image.

    Attributes:
        ink: Pixels, each counted by how far it is from the background in its farthest channel, so
            that another hue of the same brightness takes as much.
        x: Pixels from the left edge to the center.
        y: Pixels from the upper edge to the center.
        size: Root mean square distance from the center, pixels.
        elongation: Length over width, at least 1.
        angle: Of the long axis, radians clockwise from the right, known up to half a turn.
        tallness: Height over width, whatever its direction.
        color: (channels,) mean of the drawing, in [0, 1].
    """

    ink: float
    x: float
    y: float
    size: float
    elongation: float
    angle: float
    tallness: float
    color: Floats


def measure(image: Tensor) -> Drawing | None:
    """The moments of an image (channels, height, width) in [0, 1]; None for an empty one."""
    pixels = image.double().numpy()
    border = np.concatenate(
        [pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], axis=1
    )  # (channels, border pixels)
    background = np.median(border, axis=1)[:, None, None]
    weights = np.abs(pixels - background).max(axis=0)  # (height, width)
    weights = np.where(weights >= FAINTEST, weights, 0.0)
    ink = float(weights.sum())
    if ink == 0:
        return None
    rows, columns = np.indices(weights.shape)
    x, y = (float((weights * place).sum() / ink) for place in (columns, rows))
    dx, dy = columns - x, rows - y
    xx, yy, xy = (float((weights * product).sum() / ink) for product in (dx * dx, dy * dy, dx * dy))
    xx, yy = xx + PIXEL_VARIANCE, yy + PIXEL_VARIANCE
    mean, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    return Drawing(
        ink=ink,
        x=x,
        y=y,
        size=math.sqrt(2 * mean),
        elongation=math.sqrt((mean + half) / (mean - half)),
        angle=0.5 * math.atan2(2 * xy, xx - yy),
        tallness=math.sqrt(yy / xx),
        color=(pixels * weights).sum(axis=(1, 2)) / ink,
    )


def describe_sweep(frames: Tensor) -> list[str]:
    """What changes from the first frame to the last, place first and color last.

    Args:
        frames: (steps, channels, height, width) in [0, 1].

    Returns:
        Phrases such as "moves 21 pixels to the right"; empty where none of the measures changes.
    """
    drawings = [measure(frame) for frame in frames]
    first, last = drawings[0], drawings[-1]
    if first is None:
        return [] if last is None else ["appears"]
    if last is None:
        return ["disappears"]
    turn = _turn([drawing for drawing in drawings if drawing is not None])
    found = [
        _shift(last.x - first.x, frames.shape[-1], "right", "left"),
        _shift(last.y - first.y, frames.shape[-1], "down", "up"),
        _ratio(last.size / first.size, "grows {:.1f} times as large", "shrinks to {:.0%} in size"),
        turn,
        _stretch(first, last, turned=bool(turn)),
        _ink(first, last),
        _tint(first, last),
    ]
    return [phrase for phrase in found if phrase]


def signed_change(frames: Tensor) -> Floats:
    """(height, width) in [-1, 1]: how much brighter each pixel is at the end than at the start."""
    return np.asarray((frames[-1] - frames[0]).mean(dim=0).double().numpy())


def _shift(pixels: float, width: int, forward: str, backward: str) -> str:
    if abs(pixels) < max(SMALLEST_SHIFT * width, 0.5):
        return ""
    way = forward if pixels > 0 else backward
    place = f"to the {way}" if way in {"right", "left"} else way
    amount = round(abs(pixels))
    return f"moves {max(amount, 1)} pixel{'s' if amount > 1 else ''} {place}"


def _ratio(ratio: float, larger: str, smaller: str) -> str:
    if max(ratio, 1 / ratio) < SMALLEST_RATIO:
        return ""
    return (larger if ratio > 1 else smaller).format(ratio)


def _turn(drawings: list[Drawing]) -> str:
    """Summed from frame to frame, so that a turn of more than a quarter is not taken for less."""
    if min(drawing.elongation for drawing in drawings) < ROUND:
        return ""
    angles = np.unwrap([drawing.angle for drawing in drawings], period=math.pi)
    turn = float(angles[-1] - angles[0])
    if abs(turn) < SMALLEST_TURN:
        return ""
    way = "clockwise" if turn > 0 else "counterclockwise"
    return f"turns {5 * round(abs(math.degrees(turn)) / 5)} degrees {way}"


def _stretch(first: Drawing, last: Drawing, *, turned: bool) -> str:
    """By its own axes where they turn, else by those of the page, which a round drawing has too."""
    if turned:
        ratio = last.elongation / first.elongation
        return _ratio(ratio, "becomes {:.1f} times as long for its width", "becomes rounder")
    ratio = last.tallness / first.tallness
    if ratio >= 1:
        return _ratio(ratio, "becomes {:.1f} times as tall for its width", "")
    return _ratio(1 / ratio, "becomes {:.1f} times as wide for its height", "")


def _ink(first: Drawing, last: Drawing) -> str:
    """Pen width, contrast, parts that come and go; where the size changes it takes ink anyway."""
    if max(last.size / first.size, first.size / last.size) >= SMALLEST_RATIO:
        return ""
    return _ratio(last.ink / first.ink, "gets {:.1f} times the ink", "keeps {:.0%} of the ink")


def _tint(first: Drawing, last: Drawing) -> str:
    if len(first.color) == 1:
        return ""
    if math.sqrt(float(np.square(last.color - first.color).mean())) < SMALLEST_TINT:
        return ""
    return f"changes color from {_hex(first.color)} to {_hex(last.color)}"


def _hex(color: Floats) -> str:
    levels = np.rint(color.clip(0, 1) * 255).astype(int)
    return "#" + "".join(f"{level:02x}" for level in levels)
