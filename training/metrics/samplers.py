"""Sets of images that share all but one, or only one, of their factors (for Metrics I and II).

Two sources: a full grid of factor values, by index arithmetic, so that nothing is searched; and a
table of labelled rows, grouped once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from training.metrics.inputs import Ints, varying_factors

Kind = Literal["fixed", "varied"]


class FactorSampler(Protocol):
    """Draws image numbers. No image is drawn twice within one set."""

    n_images: int
    n_factors: int
    varying: Ints

    def fixed(self, factor: int, n: int, rng: np.random.Generator) -> Ints:
        """At most `n` images with one random value of `factor`, the others as they come."""
        ...

    def varied(self, factor: int, n: int, rng: np.random.Generator) -> Ints:
        """At most `n` images with all factors but `factor` at one random value."""
        ...


class NoSuchRows(ValueError):
    """A table of factors has no set of rows that a metric could look at.

    Attributes:
        kind: `fixed`: no two rows share a value of the factor; `varied`: no two differ in it alone.
        factor: Its number.
        n_rows: How many were looked through.
    """

    def __init__(self, kind: Kind, factor: int, *, n_rows: int) -> None:
        self.kind, self.factor, self.n_rows = kind, factor, n_rows
        rule, cure = _WANTED[kind]
        super().__init__(
            f"this metric needs two rows {rule.format(factor=factor)}; got none among {n_rows} "
            f"rows. {cure.format(factor=factor)}"
        )


_WANTED = {
    "fixed": (
        "with the same value of factor {factor}",
        "Put continuous factors into few classes first, with `discretize(factors, n_bins)`.",
    ),
    "varied": (
        "that differ in factor {factor} and in no other",
        "Leave factor {factor} out: the others decide it, or the table is too sparse for it; or "
        "put continuous factors into few classes first, with `discretize(factors, n_bins)`.",
    ),
}


def choose(n_pool: int, n: int, rng: np.random.Generator) -> Ints:
    """min(n, n_pool) different numbers below `n_pool`."""
    if n >= n_pool:
        return np.arange(n_pool)
    return rng.choice(n_pool, size=n, replace=False, shuffle=False)


class GridSampler:
    """Every combination of factor values once, numbered row-major (last factor fastest)."""

    def __init__(self, factor_sizes: Sequence[int]) -> None:
        if not factor_sizes or min(factor_sizes) < 1:
            raise ValueError(
                f"factor sizes must be one or more positive numbers; got {list(factor_sizes)}."
            )
        self._sizes = [int(size) for size in factor_sizes]
        self._strides = [math.prod(self._sizes[k + 1 :]) for k in range(len(self._sizes))]
        self.n_images = math.prod(self._sizes)
        self.n_factors = len(self._sizes)
        self.varying = np.flatnonzero(np.asarray(self._sizes) > 1)

    def fixed(self, factor: int, n: int, rng: np.random.Generator) -> Ints:
        value = int(rng.integers(self._sizes[factor]))
        rest = choose(self.n_images // self._sizes[factor], n, rng)
        return self._insert(factor, rest, np.int64(value))

    def varied(self, factor: int, n: int, rng: np.random.Generator) -> Ints:
        rest = np.int64(rng.integers(self.n_images // self._sizes[factor]))
        return self._insert(factor, rest, choose(self._sizes[factor], n, rng))

    def _insert(self, factor: int, rest: Ints | np.int64, value: Ints | np.int64) -> Ints:
        """Put digit `factor` = `value` into the number `rest` of all other digits."""
        stride = self._strides[factor]
        return (rest // stride) * (stride * self._sizes[factor]) + value * stride + rest % stride


class TableSampler:
    """Rows of a table of classes (n, n_factors), grouped by value and by all other values."""

    def __init__(self, classes: Ints) -> None:
        self.n_images, self.n_factors = classes.shape
        self.varying = varying_factors(classes)
        self._classes = classes
        self._pools: dict[tuple[Kind, int], list[Ints]] = {}

    def fixed(self, factor: int, n: int, rng: np.random.Generator) -> Ints:
        return self._draw("fixed", factor, n, rng)

    def varied(self, factor: int, n: int, rng: np.random.Generator) -> Ints:
        return self._draw("varied", factor, n, rng)

    def _draw(self, kind: Kind, factor: int, n: int, rng: np.random.Generator) -> Ints:
        if (kind, factor) not in self._pools:
            self._pools[kind, factor] = self._find_pools(kind, factor)
        pools = self._pools[kind, factor]
        pool = pools[int(rng.integers(len(pools)))]
        return pool[choose(len(pool), n, rng)]

    def _find_pools(self, kind: Kind, factor: int) -> list[Ints]:
        column = self._classes[:, [factor]]
        if kind == "fixed":
            pools = [rows for rows in group_rows(column) if len(rows) > 1]
        else:
            others = np.delete(self._classes, factor, axis=1)
            pools = [rows for rows in group_rows(others) if np.ptp(column[rows]) > 0]
        if not pools:
            raise NoSuchRows(kind, factor, n_rows=self.n_images)
        return pools


def group_rows(table: Ints) -> list[Ints]:
    """Row numbers of each distinct row of `table` (n, columns)."""
    if table.shape[1] == 0:
        return [np.arange(table.shape[0])]
    _, group = np.unique(table, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
