"""What a metric returns, and how sure it is: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from training.metrics.inputs import Floats, Ints

Interval = tuple[float, float]
UNIT: Interval = (0.0, 1.0)
UNBOUNDED: Interval = (-np.inf, np.inf)


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """A score with the table behind it.

    Attributes:
        score: The metric, on the scale that its function documents.
        table: (latent_dim, n_factors) unless the metric says otherwise; row j is latent dimension j
            of the array that was passed in, also when dimensions were masked.
        ci95: 95 % interval of the score, or None where it was not asked for.
        details: Further figures, by name.
    """

    score: float
    table: Floats
    ci95: Interval | None
    details: Mapping[str, Any] = field(default_factory=dict)


def best_leads(table: Floats) -> Floats:
    """By how much the best dimension of each factor leads: (latent_dim, n_factors) to (n_factors,).

    A missing second best counts as 0.
    """
    ordered = np.sort(table, axis=0)
    second = ordered[-2] if len(ordered) > 1 else np.zeros(table.shape[1])
    return np.asarray(ordered[-1] - second)


def mean_of_known(values: Floats) -> float:
    """The mean of what is not NaN; 0 where all is."""
    return 0.0 if np.isnan(values).all() else float(np.nanmean(values))


def centred_interval(
    score: float, replicates: ArrayLike, *, bounds: Interval = UNIT
) -> Interval | None:
    """95 % interval score ± t · sd of bootstrap replicates (n_bootstrap,).

    None for fewer than 2, and where one is not finite.

    Centred on the score because most of these metrics shift on resampled rows (duplicates look like
    information, and a classifier scored on its own votes looks better): the replicates' spread is
    right where their mean is not. Student's t keeps few replicates honest. The interval is cut to
    the metric's `bounds`.
    """
    values = np.asarray(replicates, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1))
    return max(score - half, bounds[0]), min(score + half, bounds[1])


def bootstrap_rows(
    statistic: Callable[[Ints], float],
    n_rows: int,
    *,
    score: float,
    n_bootstrap: int,
    rng: np.random.Generator,
    bounds: Interval = UNIT,
) -> Interval | None:
    """95 % interval of a statistic of rows, by resampling the rows.

    Args:
        statistic: Maps row numbers (n_rows,), drawn with repetition, to the metric.
        n_rows: How many rows there are.
        score: The metric on all rows.
        n_bootstrap: Number of resampled sets; below 2 there is no interval.
        rng: Source of the resampling.
        bounds: The metric's least and largest value.

    Returns:
        (low, high), or None.
    """
    if n_bootstrap < 2:
        return None
    replicates = [statistic(rng.integers(n_rows, size=n_rows)) for _ in range(n_bootstrap)]
    return centred_interval(score, replicates, bounds=bounds)
