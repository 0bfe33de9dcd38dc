"""XYObject: one square of some size and color on black, on a grid of places (after disent)."""

import torch
from torch import Tensor

from training.data.ground_truth import GroundTruth
from training.data.procedural import CANVAS, Procedural, rgb_of_hue

SIDES = tuple(range(7, 16, 2))
STEP = 2  # pixels between places
N_COLORS = 24
_N_PLACES = 1 + (CANVAS - SIDES[-1]) // STEP
FACTORS = GroundTruth(
    ("x", "y", "scale", "color"),
    (
        tuple(float(STEP * k) for k in range(_N_PLACES)),
        tuple(float(STEP * k) for k in range(_N_PLACES)),
        tuple(float(side) for side in SIDES),
        tuple(k / N_COLORS for k in range(N_COLORS)),
    ),
)


class XYObject(Procedural):
    """25 x 25 places, 5 sizes, 24 hues. Values are pixels of a canvas of 64, and turns."""

    def __init__(self, name: str, *, size: int) -> None:
        super().__init__(name, FACTORS, channels=3, size=size)

    def draw(self, classes: Tensor) -> Tensor:
        """(batch, 4) -> (batch, 3, size, size); the square is centered in its largest place."""
        x, y, side, hue = FACTORS.values_of(classes).float().unbind(dim=-1)
        pixels = (torch.arange(self.size, device=classes.device) + 0.5) * (CANVAS / self.size)
        margin = (SIDES[-1] - side) / 2
        across, down = (
            ((pixels >= start.unsqueeze(1)) & (pixels < (start + side).unsqueeze(1))).float()
            for start in (x + margin, y + margin)
        )  # (batch, size) each
        inside = down[:, :, None] * across[:, None, :]  # (batch, size, size)
        return inside.unsqueeze(1) * rgb_of_hue(hue)[:, :, None, None]
