"""What the metrics accept: a table of codes beside a table of factors, checked once.

`codes` is (n, latent_dim): any representation, usually the posterior mean. `factors` is
(n, n_factors): one class (or value) for each row and factor. Dimensions that do not move are dead
and are masked by every metric, since their noise would win whatever is normalized by its own
spread (a pitfall of Metrics I and II, arXiv 1902.01568, and of every histogram).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# In prior standard deviations. The value of disentanglement_lib's studies, whose copies run with 0.
MIN_STD = 0.05
_STREAM = 0x6D6574  # any number that nobody else seeds with

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def make_rng(seed: int | np.random.Generator) -> np.random.Generator:
    """A generator of the metrics' own; one that was passed in is used as it is.

    Not `default_rng(seed)`: that one may have drawn the codes, whose numbers would come back.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng([_STREAM, seed])


def as_codes(codes: ArrayLike) -> Floats:
    """Check and return codes as float64 (n, latent_dim)."""
    array = np.asarray(codes, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise ValueError(
            "`codes` must be a table (n, latent_dim) with at least two rows; "
            f"got shape {array.shape}. Pass one row for each image."
        )
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise ValueError(
            f"`codes` must be finite; got {bad} NaN or infinite of {array.size} values. "
            "Look at the encoder: a diverged training is the usual cause."
        )
    return array


def as_factors(factors: ArrayLike, n_rows: int) -> Floats:
    """Check and return factor values as float64 (n, n_factors)."""
    array = np.asarray(factors, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != n_rows or array.shape[1] < 1:
        raise ValueError(
            f"`factors` must be a table (n, n_factors) with one row for each of the {n_rows} rows "
            f"of `codes`; got shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(
            "`factors` must be finite; got NaN or infinite values. "
            "Leave out the rows whose factors are not known."
        )
    return array


def as_classes(factors: ArrayLike, n_rows: int) -> Ints:
    """Factor values (n, n_factors) as class numbers 0, 1, … of each column's sorted values."""
    values = as_factors(factors, n_rows)
    columns = [np.unique(column, return_inverse=True)[1] for column in values.T]
    return np.stack(columns, axis=1).astype(np.int64)


def discretize(values: ArrayLike, n_bins: int = 20) -> Ints:
    """Class of each value among `n_bins` equally wide bins of its column: (n, columns)."""
    array = np.asarray(values, dtype=np.float64)
    columns = []
    for column in array.T:
        near = _near_zero(column, n_bins)
        edges = np.histogram_bin_edges(near, n_bins)
        columns.append(np.digitize(near, edges[:-1]) - 1)
    return np.stack(columns, axis=1).astype(np.int64)


def _near_zero(column: Floats, n_bins: int) -> Floats:
    """Counted from the least value where floats are too coarse for the bins, as for timestamps."""
    width = (np.ptp(column) or 1.0) / n_bins
    return column - column.min() if np.spacing(np.abs(column).max()) >= width else column


def active_dims(codes: Floats, min_std: float = MIN_STD) -> Ints:
    """Indices of the dimensions whose standard deviation is at least `min_std` (and not 0)."""
    std = codes.std(axis=0)
    return np.flatnonzero((std >= min_std) & (std > 0))


def varying_factors(classes: Ints) -> Ints:
    """Indices of the factors that take more than one value."""
    return np.flatnonzero(classes.max(axis=0) > classes.min(axis=0))


def z_scored(table: Floats, rows: Ints | slice = slice(None)) -> Floats:
    """Columns by the mean and standard deviation of `rows`; one that is constant there is shifted.

    Args:
        table: (n, columns), or (n,).
        rows: Those that decide, such as the ones that teach; all by default.
    """
    std = table[rows].std(axis=0)
    return np.asarray((table - table[rows].mean(axis=0)) / np.where(std > 0, std, 1.0))


def split_rows(
    n_rows: int, fractions: tuple[float, ...], rng: np.random.Generator
) -> tuple[Ints, ...]:
    """Shuffle the row numbers and cut them by `fractions`; the last part takes the rest."""
    cuts = np.floor(np.cumsum(fractions[:-1]) * n_rows).astype(np.int64)
    parts = np.split(rng.permutation(n_rows), cuts)
    if min(len(part) for part in parts) == 0:
        raise ValueError(
            f"a split by {fractions} needs at least one row in each part; got {n_rows} rows."
        )
    return tuple(parts)
