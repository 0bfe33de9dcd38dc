"""Modularity: does each dimension tell of one factor only (arXiv 1802.05312, section 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.information import binned, information_table
from training.metrics.inputs import MIN_STD, Floats, Ints, make_rng, varying_factors
from training.metrics.results import MetricResult, bootstrap_rows


def modularity(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    min_std: float = MIN_STD,
    n_bootstrap: int = 30,
) -> MetricResult:
    """mean_j 1 - [sum_k I_jk² - max_k I_jk²] / [max_k I_jk² (K - 1)].

    The mean runs over the dimensions that move: a dead one is neither modular nor not. Constant
    factors do not count in K. Dimensions that carry noise score well below 1 but above 0, since
    the small informations differ by chance.

    Args:
        codes: (n, latent_dim); 10,000 rows are usual.
        factors: (n, n_factors) classes.
        seed: Of the resampling behind the interval.
        min_std: Dimensions that spread less are left out.
        n_bootstrap: Resampled row sets; 0 for no interval.

    Returns:
        Score in [0, 1], 0 if no dimension moves or no factor varies; `table` is the mutual
        information in nats, `details["by_dim"]` the modularity of each dimension (NaN if dead).
    """
    data = binned(codes, factors, min_std=min_std)
    bins, classes, active = data.bins, data.classes, data.active
    table = information_table(bins, classes)
    by_dim = np.full(len(table), np.nan)
    by_dim[active] = _by_dim(table[np.ix_(active, varying_factors(classes))])

    def statistic(rows: Ints) -> float:
        sample = classes[rows]
        return _mean(
            _by_dim(information_table(bins[rows][:, active], sample[:, varying_factors(sample)]))
        )

    score = _mean(by_dim[active])
    return MetricResult(
        score=score,
        table=table,
        ci95=bootstrap_rows(
            statistic, len(bins), score=score, n_bootstrap=n_bootstrap, rng=make_rng(seed)
        ),
        details={"by_dim": by_dim, "active_dims": active.tolist()},
    )


def _by_dim(table: Floats) -> Floats:
    """Modularity of each row of informations; with one factor, 1 where there is information."""
    if table.size == 0:
        return np.zeros(len(table))
    squares = np.square(table)
    largest = squares.max(axis=1)
    others = squares.sum(axis=1) - largest
    scale = largest * max(table.shape[1] - 1, 1)
    return np.where(largest > 0, 1 - others / np.where(scale > 0, scale, 1), 0.0)


def _mean(by_dim: Floats) -> float:
    return float(by_dim.mean()) if len(by_dim) else 0.0
