"""Digits as pen strokes, and how ink covers pixels: what a drawn clock face is made of.

A glyph is a set of straight strokes in a box of height 1 (y down, center at 0); curves are
polylines. Coverage of a pixel falls linearly from 1 to 0 over one pixel at a stroke's edge.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

Point = tuple[float, float]
WIDTH = 0.52  # of a digit
ADVANCE = 0.66  # from one digit of a number to the next
_ARC_POINTS = 9


def _arc(center: Point, radii: Point, degrees: tuple[float, float]) -> list[Point]:
    """Points of an elliptic arc; 0 degrees points right, angles grow clockwise."""
    angles = [
        math.radians(degrees[0] + (degrees[1] - degrees[0]) * k / (_ARC_POINTS - 1))
        for k in range(_ARC_POINTS)
    ]
    return [
        (center[0] + radii[0] * math.cos(a), center[1] + radii[1] * math.sin(a)) for a in angles
    ]


_HALF = WIDTH / 2
_LINES: dict[str, list[list[Point]]] = {
    "0": [_arc((0, 0), (_HALF, 0.5), (0, 360))],
    "1": [[(-0.14, -0.3), (0.05, -0.5), (0.05, 0.5)]],
    "2": [[*_arc((0, -0.24), (_HALF, 0.26), (190, 390)), (-_HALF, 0.5), (_HALF, 0.5)]],
    "3": [
        _arc((-0.02, -0.25), (_HALF, 0.25), (200, 450)),
        _arc((-0.02, 0.25), (_HALF, 0.25), (270, 520)),
    ],
    "4": [[(0.12, 0.5), (0.12, -0.5), (-_HALF, 0.2), (_HALF + 0.04, 0.2)]],
    "5": [
        [(_HALF, -0.5), (-0.2, -0.5), (-0.24, -0.06)],
        _arc((-0.03, 0.18), (_HALF + 0.03, 0.32), (225, 500)),
    ],
    "6": [
        _arc((0, 0.2), (_HALF, 0.3), (0, 360)),
        [(-_HALF, 0.2), (-0.2, -0.14), (0.0, -0.4), (0.17, -0.5)],
    ],
    "7": [[(-_HALF, -0.5), (_HALF, -0.5), (-0.08, 0.5)]],
    "8": [
        _arc((0, -0.26), (0.21, 0.24), (0, 360)),
        _arc((0, 0.24), (_HALF, 0.26), (0, 360)),
    ],
    "9": [
        _arc((0, -0.2), (_HALF, 0.3), (0, 360)),
        [(_HALF, -0.2), (0.18, 0.2), (0.04, 0.5)],
    ],
}


def number_strokes(number: int) -> Tensor:
    """Strokes of a number, (n_strokes, 4): x and y of one end, then of the other."""
    digits = str(number)
    strokes = []
    for place, digit in enumerate(digits):
        shift = (place - (len(digits) - 1) / 2) * ADVANCE
        for line in _LINES[digit]:
            strokes += _pieces([(x + shift, y) for x, y in line])
    return torch.tensor(strokes)


def _pieces(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    return [(*start, *end) for start, end in itertools.pairwise(points)]


def distance_to_stroke(x: Tensor, y: Tensor, stroke: Sequence[Tensor]) -> Tensor:
    """Distance of points to the piece between two ends; all arguments broadcast.

    Args:
        x: Of the points.
        y: Of the points.
        stroke: (x, y) of one end and of the other.
    """
    x0, y0, x1, y1 = stroke
    along_x, along_y = x1 - x0, y1 - y0
    squared = (along_x.square() + along_y.square()).clamp(min=1e-9)
    dx, dy = x - x0, y - y0
    share = (dx * (along_x / squared) + dy * (along_y / squared)).clamp(0, 1)
    return torch.hypot(dx - share * along_x, dy - share * along_y)


def ink(distance: Tensor, width: Tensor | float) -> Tensor:
    """Share of a pixel that a line covers, from the distance (pixels) to its middle."""
    return (0.5 + width / 2 - distance).clamp(0, 1)


def stroke_patches(strokes: Tensor, width: Tensor, *, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ink of strokes, each in a square of pixels around its middle.

    Args:
        strokes: (batch, n, 4), pixels.
        width: (batch, 1, 1), pixels.
        side: Of a square, pixels.

    Returns:
        Ink (batch, n, side, side), and the row and the column of the squares' corners, (batch, n).
    """
    x0, y0, x1, y1 = strokes[..., None, None].unbind(dim=2)  # (batch, n, 1, 1) each
    left, top = ((ends / 2 - side / 2).round() for ends in (x0 + x1, y0 + y1))
    steps = torch.arange(side, device=strokes.device) + 0.5
    distance = distance_to_stroke(left + steps, top + steps[:, None], (x0, y0, x1, y1))
    row, column = (corner.long().flatten(1) for corner in (top, left))  # (batch, n) each
    return ink(distance, width[..., None]), row, column


def number_patches(
    *, heights: Sequence[float], widths: Sequence[float], side: int, n_shifts: int
) -> Tensor:
    """Pictures of the numbers 1 to 12 at each height, pen width and shift below a pixel.

    Args:
        heights: Of the digits, pixels.
        widths: Of the pen, pixels.
        side: Of a patch, pixels; the number's center lies `shift / n_shifts` past its middle.
        n_shifts: Shifts along each axis.

    Returns:
        (heights, widths, 12, n_shifts (y), n_shifts (x), side, side), ink in [0, 1].
    """
    pixels = torch.arange(side) + 0.5 - side / 2
    shifts = torch.arange(n_shifts) / n_shifts
    places = pixels - shifts[:, None]  # (n_shifts, side)
    x, y = places[None, :, None, :], places[:, None, :, None]
    pens = torch.tensor(widths).view(-1, 1, 1, 1, 1)
    tables = []
    for height in heights:
        numbers = []
        for number in range(1, 13):
            nearest = torch.full((n_shifts, n_shifts, side, side), math.inf)
            for stroke in number_strokes(number) * height:
                nearest = torch.minimum(nearest, distance_to_stroke(x, y, list(stroke)))
            numbers.append(ink(nearest, pens))  # (widths, n_shifts, n_shifts, side, side)
        tables.append(torch.stack(numbers, dim=1))
    return torch.stack(tables)
