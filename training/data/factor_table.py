"""Factors known image by image, where the images form no full grid: labels of real data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

N_CLASSES = 10  # into which a continuous factor is cut, as the author of Teapots does


@dataclass(frozen=True)
class FactorTable:
    """One row of factor values an image.

    Attributes:
        factor_names: One name a factor.
        values: (n_images, n_factors) float64, natural units.
        classes: (n_images, n_factors) int64, 0, 1, … in the order of the values.
    """

    factor_names: tuple[str, ...]
    values: Tensor
    classes: Tensor

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of classes of each factor."""
        return tuple(int(column.max()) + 1 for column in self.classes.T)

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return len(self.factor_names)

    @property
    def n_images(self) -> int:
        """Number of rows."""
        return len(self.values)

    def factors_of(self, indices: Tensor) -> Tensor:
        """Classes of the factors, (batch,) -> (batch, n_factors), int64."""
        return self.classes.to(indices.device)[indices]

    def values_at(self, indices: Tensor) -> Tensor:
        """Values in natural units, (batch,) -> (batch, n_factors), float64."""
        return self.values.to(indices.device)[indices]


def factor_table(names: Sequence[str], values: NDArray[np.float64]) -> FactorTable:
    """Make a table from values (n_images, n_factors).

    A factor of at most 2 `N_CLASSES` different values keeps them as classes; a finer one is cut
    into `N_CLASSES` equally wide ones.
    """
    columns = [_classes(column) for column in values.T]
    return FactorTable(
        tuple(names),
        torch.from_numpy(np.array(values, dtype=np.float64)),
        torch.from_numpy(np.stack(columns, axis=1).astype(np.int64)),
    )


def _classes(column: NDArray[np.float64]) -> NDArray[np.int64]:
    different, classes = np.unique(column, return_inverse=True)
    if len(different) <= 2 * N_CLASSES:
        return classes
    edges = np.linspace(different[0], different[-1], N_CLASSES + 1)
    return np.digitize(column, edges[1:-1])
