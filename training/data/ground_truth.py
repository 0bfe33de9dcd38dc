"""The factors behind a full grid of images, and the arithmetic between index and factors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroundTruth:
    """A row-major grid: the last factor changes fastest with the index.

    Attributes:
        factor_names: One name a factor.
        factor_values: For each factor the value of each of its classes, in natural units.
    """

    factor_names: tuple[str, ...]
    factor_values: tuple[tuple[float, ...], ...]

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of classes of each factor."""
        return tuple(len(values) for values in self.factor_values)

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return len(self.factor_names)

    @property
    def n_images(self) -> int:
        """Number of images in the grid."""
        return math.prod(self.factor_sizes)

    def strides(self) -> tuple[int, ...]:
        """By how much the index grows when a factor's class grows by one."""
        return tuple(math.prod(self.factor_sizes[k + 1 :]) for k in range(self.n_factors))

    def factors_of(self, indices: Tensor) -> Tensor:
        """Classes of the factors, (batch,) -> (batch, n_factors), int64."""
        columns = [
            indices // stride % size
            for stride, size in zip(self.strides(), self.factor_sizes, strict=True)
        ]
        return torch.stack(columns, dim=-1)  # (batch, n_factors)

    def indices_of(self, factors: Tensor) -> Tensor:
        """Inverse of `factors_of`, (batch, n_factors) -> (batch,), int64."""
        strides = torch.tensor(self.strides(), device=factors.device)
        return (factors.long() * strides).sum(dim=-1)  # (batch,)

    def values_of(self, factors: Tensor) -> Tensor:
        """Values in natural units (angle in radians …) of the classes, same shape, float64."""
        columns = [
            torch.tensor(values, dtype=torch.float64, device=factors.device)[factors[..., k].long()]
            for k, values in enumerate(self.factor_values)
        ]
        return torch.stack(columns, dim=-1)  # (batch, n_factors)

    def values_at(self, indices: Tensor) -> Tensor:
        """Values in natural units of images, (batch,) -> (batch, n_factors), float64."""
        return self.values_of(self.factors_of(indices))
