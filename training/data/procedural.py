"""What all drawn sets share: factors behind an index, a hash, and numbers made from an index."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from training.data.ground_truth import GroundTruth
from training.errors import DataError

SIZES = (32, 64, 128)
CANVAS = 64  # side of the canvas in whose units scenes are described
# The two multipliers of MurmurHash3's 64-bit finalizer, as signed numbers.
_MIX = (0xFF51AFD7ED558CCD - 2**64, 0xC4CEB9FE1A85EC53 - 2**64)
_SHIFT, _SHIFT_MASK = 33, 2**31 - 1
_MANTISSA_BITS = 24


class Procedural(ABC):
    """A set drawn from the classes of its factors, with no stored images.

    A subclass says in `version` that its drawing changed: pixels are not hashed, since their last
    bits differ from one processor to another.
    """

    source = "procedural"
    version = 1

    def __init__(self, name: str, factors: GroundTruth, *, channels: int, size: int) -> None:
        require_size(name, size, sizes=SIZES)
        self.factors = factors
        self.name = name if size == CANVAS else f"{name}-{size}"
        self.image_shape = (channels, size, size)
        self.n_images = factors.n_images

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.image_shape[1]

    def sha256(self) -> str:
        """Hash of name, version of the drawing, and factors."""
        grid = [self.factors.factor_names, self.factors.factor_values]
        content = json.dumps([self.name, self.version, self.image_shape, grid])
        return hashlib.sha256(content.encode()).hexdigest()

    def images(self, indices: Tensor) -> Tensor:
        """Draw images, (batch,) int64 -> (batch, channels, size, size) float32 in [0, 1]."""
        return self.draw(self.factors.factors_of(indices))

    @abstractmethod
    def draw(self, classes: Tensor) -> Tensor:
        """Draw the images of the classes of all factors, (batch, n_factors) int64."""


def require_size(name: str, size: int, *, sizes: Sequence[int]) -> None:
    """Refuse a size that a drawing has not.

    Raises:
        DataError: With the sizes that it has.
    """
    if size not in sizes:
        raise DataError(
            f"`{name}` is drawn at one of the sizes {tuple(sizes)}: got {size}; change `data.size`"
        )


def spaced(low: float, high: float, n: int) -> tuple[float, ...]:
    """`n` values at equal distances from `low` to `high`, both included."""
    return tuple(low + (high - low) * k / (n - 1) for k in range(n))


def values_at(factors: GroundTruth, classes: Tensor) -> dict[str, Tensor]:
    """Values of the classes by factor, (batch, 1, 1) float32 each, ready to meet pixels."""
    values = factors.values_of(classes).float().unbind(dim=-1)
    return {
        name: value.view(-1, 1, 1) for name, value in zip(factors.factor_names, values, strict=True)
    }


def uniform_of(indices: Tensor, n: int, *, stream: int) -> Tensor:
    """`n` uniform numbers of each index, the same whenever they are asked for.

    Args:
        indices: (batch,) int64.
        n: How many for each.
        stream: Another one gives other numbers.

    Returns:
        (batch, n) float32 in [0, 1).
    """
    columns = torch.arange(n, device=indices.device)
    mixed = (indices.unsqueeze(1) * n + columns) ^ (stream << 40)  # (batch, n)
    for factor in _MIX:
        mixed = (mixed ^ ((mixed >> _SHIFT) & _SHIFT_MASK)) * factor
    mixed = mixed ^ ((mixed >> _SHIFT) & _SHIFT_MASK)
    uniform: Tensor = (mixed & (2**_MANTISSA_BITS - 1)).float() / 2**_MANTISSA_BITS
    return uniform


def rgb_of_hue(hue: Tensor, *, saturation: float = 1.0, value: float = 1.0) -> Tensor:
    """Hues in turns (0 red, 1/3 green, 2/3 blue) to RGB in [0, 1], (batch,) -> (batch, 3)."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (offsets + 6 * hue.unsqueeze(-1)) % 6  # (batch, 3)
    share = torch.minimum(k, 4 - k).clamp(0, 1)
    return value * (1 - saturation * share)
