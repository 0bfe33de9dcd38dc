"""Clock faces as people draw them in the clock drawing test: gray ink on white, antialiased.

The hands stand about ten past eleven, the time that the test asks for, and vary around it, so that
no factor is a full circle. The clinical factors: size, eccentricity (aspect), place on the page,
where the hands point and how long they are, how far round the dial the digits are spread (below 1
they crowd to the right and leave a gap at the upper left), and the width of the pen.
"""

import math

import torch
from torch import Tensor

from training.data.glyphs import ink, number_patches, stroke_patches
from training.data.ground_truth import GroundTruth
from training.data.procedural import CANVAS, Procedural, spaced, values_at

_RADII = spaced(17.5, 24.5, 8)
_PENS = spaced(1.0, 1.9, 4)
FACTORS = GroundTruth(
    (
        "size",
        "aspect",
        "x",
        "y",
        "hour_angle",
        "minute_angle",
        "hour_length",
        "minute_length",
        "digit_spread",
        "pen_width",
    ),
    (
        _RADII,
        tuple(math.exp(value) for value in spaced(-0.26, 0.26, 7)),
        spaced(-3.5, 3.5, 8),
        spaced(-3.5, 3.5, 8),
        tuple(math.radians(angle) for angle in spaced(300, 360, 9)),
        tuple(math.radians(angle) for angle in spaced(30, 100, 9)),
        spaced(0.28, 0.44, 5),
        spaced(0.46, 0.68, 5),
        spaced(0.76, 1.0, 6),
        _PENS,
    ),
)
DIGIT_HEIGHT = 0.27  # of the radius
DIGIT_RING = 0.79
DIGIT_PEN = 0.7  # of the pen's width
HEAD_LENGTH, HEAD_ANGLE = 0.13, math.radians(28)
DARKEST = 0.06
N_SHIFTS = 4
# Sides of the squares on the canvas that hold the longest shaft, a barb, and a number.
_SHAFT_PATCH, _HEAD_PATCH, _NUMBER_PATCH = 24, 9, 16


class ClockFaces(Procedural):
    """Ten factors, 174 million faces. Values are pixels of a canvas of 64, radians and ratios."""

    def __init__(self, name: str, *, size: int) -> None:
        super().__init__(name, FACTORS, channels=1, size=size)
        self._patches: dict[torch.device, Tensor] = {}

    def draw(self, classes: Tensor) -> Tensor:
        """(batch, 10) -> (batch, 1, size, size): 1 is paper, 0.06 is full ink."""
        face = _Face(values_at(FACTORS, classes), self.size)
        covered = face.outline()  # (batch, size, size)
        shafts = face.shafts()
        for strokes, side in ((shafts, _SHAFT_PATCH), (face.heads(shafts), _HEAD_PATCH)):
            _stamp(covered, *stroke_patches(strokes, face.pen, side=self._pixels(side)))
        _stamp(covered, *self._numbers(face, classes))
        return 1 - (1 - DARKEST) * covered.unsqueeze(1)

    def _pixels(self, length: float) -> int:
        """A length on the canvas in pixels of the image, rounded up."""
        return math.ceil(length * self.size / CANVAS)

    def _numbers(self, face: "_Face", classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches of the twelve numbers, and the row and column of their corners."""
        table = self._patches_on(classes.device)
        side = table.shape[-1]
        x, y = face.number_places()  # (batch, 12) each
        corner_x, corner_y = (place - side / 2 + 0.5 / N_SHIFTS for place in (x, y))
        left, top = corner_x.floor().long(), corner_y.floor().long()
        shift_x = ((corner_x - left) * N_SHIFTS).long()
        shift_y = ((corner_y - top) * N_SHIFTS).long()
        column = dict(zip(FACTORS.factor_names, classes.unbind(dim=-1), strict=True))
        radius, pen = (column[name].unsqueeze(1) for name in ("size", "pen_width"))
        number = torch.arange(12, device=classes.device)
        return table[radius, pen, number, shift_y, shift_x], top, left

    def _patches_on(self, device: torch.device) -> Tensor:
        if device not in self._patches:
            zoom = self.size / CANVAS
            self._patches[device] = number_patches(
                heights=[DIGIT_HEIGHT * radius * zoom for radius in _RADII],
                widths=[DIGIT_PEN * pen * zoom for pen in _PENS],
                side=self._pixels(_NUMBER_PATCH),
                n_shifts=N_SHIFTS,
            ).to(device)
        return self._patches[device]


class _Face:
    """The geometry of a batch of faces in pixels; every value is (batch, 1, 1)."""

    def __init__(self, values: dict[str, Tensor], size: int) -> None:
        self._values = values
        zoom = size / CANVAS
        stretch = values["aspect"].sqrt()
        self._across = values["size"] * stretch * zoom
        self._down = values["size"] / stretch * zoom
        self._x, self._y = (size / 2 + values[name] * zoom for name in ("x", "y"))
        self.pen = values["pen_width"] * zoom
        pixels = torch.arange(size, device=stretch.device) + 0.5
        self._dx = pixels - self._x  # (batch, 1, size)
        self._dy = pixels[:, None] - self._y  # (batch, size, 1)

    def outline(self) -> Tensor:
        """Ink of the ellipse, (batch, size, size); first-order distance f / |grad f|."""
        u, w = self._dx / self._across, self._dy / self._down
        level = (u.square() + w.square()).sqrt()
        slope = torch.hypot(u / self._across, w / self._down) / level.clamp(min=1e-6)
        return ink((level - 1).abs() / slope.clamp(min=1e-6), self.pen)

    def shafts(self) -> Tensor:
        """Both hands from the center to their tips, (batch, 2, 4)."""
        tips = [
            self._toward(self._values[f"{hand}_angle"], self._values[f"{hand}_length"])
            for hand in ("hour", "minute")
        ]
        return torch.stack(
            [torch.cat([self._x, self._y, self._x + x, self._y + y], dim=1) for x, y in tips], dim=1
        ).squeeze(-1)  # (batch, 2, 4)

    def heads(self, shafts: Tensor) -> Tensor:
        """The two barbs at each tip, (batch, 4, 4)."""
        x0, y0, x1, y1 = shafts.unbind(dim=-1)  # (batch, 2) each
        backward = torch.atan2(y0 - y1, x0 - x1)
        barb = HEAD_LENGTH * torch.sqrt(self._across * self._down).squeeze(-1)
        barbs = [
            torch.stack([x1, y1, x1 + barb * angle.cos(), y1 + barb * angle.sin()], dim=-1)
            for angle in (backward - HEAD_ANGLE, backward + HEAD_ANGLE)
        ]
        return torch.cat(barbs, dim=1)

    def number_places(self) -> tuple[Tensor, Tensor]:
        """Centers of the numbers 1 to 12 in pixels, (batch, 12) each; 12 is always on top."""
        hours = torch.arange(1, 13, device=self._x.device) % 12
        angles = 2 * math.pi / 12 * hours * self._values["digit_spread"].squeeze(1)
        x, y = self._toward(angles[:, None], torch.full_like(self._x, DIGIT_RING))
        return (self._x + x).squeeze(1), (self._y + y).squeeze(1)

    def _toward(self, angle: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """From the center, clockwise from the top, `length` of the way to the outline."""
        return length * self._across * angle.sin(), -length * self._down * angle.cos()


def _stamp(covered: Tensor, patches: Tensor, top: Tensor, left: Tensor) -> None:
    """Lay patches (batch, 12, side, side) over the canvas, in place, darkest ink on top.

    Parts beyond the canvas fall on its edge, where they have no ink.
    """
    size, side = covered.shape[-1], patches.shape[-1]
    steps = torch.arange(side, device=covered.device)
    rows, columns = (
        (corner.unsqueeze(-1) + steps) for corner in (top, left)
    )  # (batch, 12, side) each
    on_canvas = ((rows >= 0) & (rows < size))[..., None] & ((columns >= 0) & (columns < size))[
        ..., None, :
    ]
    places = rows.clamp(0, size - 1)[..., None] * size + columns.clamp(0, size - 1)[..., None, :]
    flat = covered.view(len(covered), -1)
    flat.scatter_reduce_(1, places.flatten(1), (patches * on_canvas).flatten(1), "amax")
