"""The columns of a set of vectors, and what each was shifted and divided by for training.

A run keeps them in `run.json`, so that a report, an evaluation and an export look at the same
numbers, whatever becomes of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.parts import whole_source
from training.data.source import ImageSource
from training.errors import DataError

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Standardization:
    """A model sees (value - offset) / scale of each column.

    Attributes:
        columns: Their names.
        offset: (n_columns,), in the units of the table.
        scale: (n_columns,), above 0.
    """

    columns: tuple[str, ...]
    offset: Doubles
    scale: Doubles

    @classmethod
    def of_values(cls, columns: tuple[str, ...], values: Doubles) -> Standardization:
        """Mean and standard deviation of each column; a constant one is only shifted.

        Raises:
            DataError: Numbers of a column are so large that it has no standard deviation.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            varies = np.ptp(values, axis=0) > 0  # the deviation of equal values may be rounding
            spread = np.where(varies, values.std(axis=0), 1.0)
        endless = np.flatnonzero(~np.isfinite(spread))
        if len(endless):
            largest = np.abs(values[:, endless[0]]).max()
            raise DataError(
                "numbers must be small enough to have a standard deviation: column "
                f"`{columns[endless[0]]}` holds {largest:g}; mend it, or choose other columns with "
                "`data.columns`"
            )
        return cls(columns, values.mean(axis=0), np.where(spread > 0, spread, 1.0))

    @classmethod
    def none(cls, columns: tuple[str, ...]) -> Standardization:
        """Leaves every column as it is."""
        return cls(columns, np.zeros(len(columns)), np.ones(len(columns)))

    @classmethod
    def of_run(cls, data: Mapping[str, Any]) -> Standardization | None:
        """What the table `data` of a `run.json` says; None where it says nothing of columns."""
        if "columns" not in data:
            return None
        return cls(tuple(data["columns"]), np.array(data["offset"]), np.array(data["scale"]))

    def facts(self) -> dict[str, list[Any]]:
        """For the table `data` of a `run.json`."""
        return {
            "columns": list(self.columns),
            "offset": self.offset.tolist(),
            "scale": self.scale.tolist(),
        }

    def standardized(self, values: Doubles) -> Tensor:
        """(n, n_columns) in the units of the table -> float32, as the model sees them."""
        return torch.from_numpy((values - self.offset) / self.scale).float()

    def restored(self, rows: Tensor) -> Doubles:
        """(n, n_columns) as the model sees them -> in the units of the table."""
        restored: Doubles = rows.double().numpy() * self.scale + self.offset
        return restored


def standardization_of(source: ImageSource) -> Standardization | None:
    """That of a set of vectors, whose columns are c0, c1 … where they have no names; else None."""
    whole = whole_source(source)
    if len(whole.image_shape) != 1:
        return None
    found = getattr(whole, "standardization", None)
    if isinstance(found, Standardization):
        return found
    return Standardization.none(column_names(whole.image_shape[0]))


def column_names(n_columns: int) -> tuple[str, ...]:
    """c0, c1 … for columns without names."""
    return tuple(f"c{k}" for k in range(n_columns))
