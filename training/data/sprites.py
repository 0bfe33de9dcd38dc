"""dSprites and its Oval subset drawn from the index alone: binary, with no stored images.

The geometry was fitted to genuine images of the original file (square exact, ellipse and heart
within a few pixels in a thousand), so pixels on an outline may differ from the file: a run
records the source as `procedural`. On a canvas of 64, the sprite's center is (16 + 32 x,
16 + 32 y), y down; a pixel is on if its center lies inside the shape in local coordinates
u = (cos t dx + sin t dy) / s, w = (-sin t dx + cos t dy) / s, t = -orientation, s = scale.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.data.ground_truth import GroundTruth
from training.data.procedural import CANVAS, require_size

HALF_SIDE = 9.6
SEMI_AXES = (12.8, 7.2)
HEART_HALF_WIDTH = 9.6
HEART_HEIGHT = 0.66
HEART_SHIFT = 1.5
SIZES = (32, 64)
N_ORIENTATIONS = 40
PROBE_STRIDE = 97

_TRANSFORMS = {
    "scale": tuple(0.5 + 0.1 * k for k in range(6)),
    # The first and the last class are the same angle, as in the original.
    "orientation": tuple(2 * math.pi * k / 39 for k in range(N_ORIENTATIONS)),
    "x": tuple(k / 31 for k in range(32)),
    "y": tuple(k / 31 for k in range(32)),
}
_SHAPES = {"shape": (0.0, 1.0, 2.0)}
ELLIPSE = 1
FACTORS = {
    "dsprites": GroundTruth((*_SHAPES, *_TRANSFORMS), (*_SHAPES.values(), *_TRANSFORMS.values())),
    "oval-dsprites": GroundTruth(tuple(_TRANSFORMS), tuple(_TRANSFORMS.values())),
}


@dataclass(frozen=True)
class _Tables:
    """What a pixel test needs, by class: computed once in float64, so drawing only looks up."""

    rotation: Tensor  # (scale * orientation, 4): cos/s, sin/s, -sin/s, cos/s
    quadratic: Tensor  # (scale * orientation, 3): A, B, C of the ellipse A dx² + B dx dy + C dy²
    offsets: Tensor  # (position, size): pixel center minus sprite center

    def to(self, device: torch.device) -> "_Tables":
        return _Tables(*(t.to(device) for t in (self.rotation, self.quadratic, self.offsets)))


def _tables(size: int) -> _Tables:
    scale = torch.tensor(_TRANSFORMS["scale"], dtype=torch.float64).view(-1, 1)
    turns = torch.arange(N_ORIENTATIONS, dtype=torch.float64) % (N_ORIENTATIONS - 1)
    angle = -2 * math.pi * turns.view(1, -1) / (N_ORIENTATIONS - 1)
    cos, sin = (angle.cos() / scale).flatten(), (angle.sin() / scale).flatten()
    a, b = (axis**-2 for axis in SEMI_AXES)
    quadratic = [cos**2 * a + sin**2 * b, 2 * cos * sin * (a - b), sin**2 * a + cos**2 * b]
    pixels = (torch.arange(size, dtype=torch.float64) + 0.5) * (CANVAS / size)
    centers = 16 + 32 * torch.arange(32, dtype=torch.float64) / 31
    return _Tables(
        rotation=torch.stack([cos, sin, -sin, cos], dim=1).float(),
        quadratic=torch.stack(quadratic, dim=1).float(),
        offsets=(pixels.view(1, -1) - centers.view(-1, 1)).float(),
    )


def _inside_ellipse(quadratic: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """A dx² + B dx dy + C dy² <= 1; the expanded form needs the fewest full-size operations."""
    a, b, c = (coefficient.view(-1, 1, 1) for coefficient in quadratic.unbind(dim=1))
    return dx * (b * dy) + a * dx.square() + c * dy.square() <= 1  # (batch, size, size)


def _inside_square(u: Tensor, w: Tensor) -> Tensor:
    return torch.maximum(u.abs(), w.abs()) <= HALF_SIDE


def _inside_heart(u: Tensor, w: Tensor) -> Tensor:
    """Inside of u = 9.6 sin³p, w = -0.66 (13 cos p - 5 cos 2p - 2 cos 3p - cos 4p) - 1.5.

    For a given |u| the outline has two points, p and pi - p, whose cosines are +c and -c.
    Written as a polynomial in c, w = -0.66 (even ± odd) - 1.5, so no angle is needed.
    """
    squared = 1 - (u / HEART_HALF_WIDTH).square().pow(1 / 3)  # c²
    c2 = squared.clamp(min=0)
    even = 4 - 2 * c2 - 8 * c2.square()
    odd = (19 - 8 * c2) * c2.sqrt()
    within = (w + HEART_SHIFT + HEART_HEIGHT * even).abs() <= HEART_HEIGHT * odd
    return within & (squared >= 0)


class Sprites:
    """A procedural image source: `dsprites` or `oval-dsprites`, at `size` x `size` pixels."""

    source = "procedural"

    def __init__(self, name: str, *, size: int) -> None:
        require_size(name, size, sizes=SIZES)
        self.factors = FACTORS[name]
        self.name = name if size == CANVAS else f"{name}-{size}"
        self.image_shape = (1, size, size)
        self.n_images = self.factors.n_images
        self._has_shapes = "shape" in self.factors.factor_names
        self._tables = {torch.device("cpu"): _tables(size)}

    def sha256(self) -> str:
        """Hash of the packed bits of every 97th image: it changes when the drawing does."""
        probe = self.images(torch.arange(0, self.n_images, PROBE_STRIDE))
        bits = np.packbits(probe.numpy().astype(bool))
        return hashlib.sha256(self.name.encode() + bits.tobytes()).hexdigest()

    def images(self, indices: Tensor) -> Tensor:
        """Draw images, (batch,) int64 -> (batch, 1, size, size) float32 of 0 and 1."""
        tables = self._tables_on(indices.device)
        *shape, scale, orientation, x, y = self.factors.factors_of(indices).unbind(dim=-1)
        pose = scale * N_ORIENTATIONS + orientation
        dx = tables.offsets[x].unsqueeze(1)  # (batch, 1, size)
        dy = tables.offsets[y].unsqueeze(2)  # (batch, size, 1)
        inside = _inside_ellipse(tables.quadratic[pose], dx, dy)  # (batch, size, size)
        if self._has_shapes:
            _draw_others(inside, shape[0], (tables.rotation[pose], dx, dy))
        return inside.unsqueeze(1).float()  # (batch, 1, size, size)

    def _tables_on(self, device: torch.device) -> _Tables:
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device]


def _draw_others(inside: Tensor, shape: Tensor, pose: tuple[Tensor, Tensor, Tensor]) -> None:
    """Overwrite, in place, the rows that show a square (0) or a heart (2)."""
    for number, test in ((0, _inside_square), (2, _inside_heart)):
        rows = (shape == number).nonzero().squeeze(1)
        rotation, dx, dy = (part[rows] for part in pose)
        ux, uy, wx, wy = (value.view(-1, 1, 1) for value in rotation.unbind(dim=1))
        inside[rows] = test(ux * dx + uy * dy, wx * dx + wy * dy)
