"""Interventional robustness score (arXiv 1811.00007, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.information import N_BINS
from training.metrics.inputs import (
    MIN_STD,
    Floats,
    Ints,
    active_dims,
    as_codes,
    as_factors,
    discretize,
    make_rng,
    varying_factors,
)
from training.metrics.results import MetricResult, bootstrap_rows
from training.metrics.samplers import group_rows


def irs(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    quantile: float = 0.99,
    min_std: float = MIN_STD,
    n_bootstrap: int = 30,
) -> MetricResult:
    """Does a dimension stay where it is while its factor is fixed and all others change?

    R_jk = 1 - E_v quantile(|z_j - mean(z_j | v_k = v)| given v_k = v) / max |z_j - mean(z_j)|, the
    expectation over the rows (disentanglement_lib takes the plain mean over values, which is the
    same where all are equally frequent); a value that one row has tells of no spread and is left
    out. The score is max_k R_jk, weighted by the dimensions' largest deviations.

    The scale starts above 0: uniform noise is near 0, Gaussian noise at 0.3 to 0.4, since its
    maximum is far out, and higher where few rows share a value: compare only figures of as many
    rows and values.

    Args:
        codes: (n, latent_dim); 10,000 rows are usual. Crossed, independent factors are assumed.
        factors: (n, n_factors), put into 20 equally wide bins each. Factors with one value are left
            out.
        seed: Of the resampling behind the interval.
        quantile: 1 is the maximum, as in the paper; 0.99 as in disentanglement_lib.
        min_std: Dimensions that spread less are left out.
        n_bootstrap: Resampled row sets; 0 for no interval.

    Returns:
        Score in [0, 1], 0 if all is dead or nothing varies; `table` is R (latent_dim, n_factors), 0
        for what was left out; `details["best_factors"]` is the factor of each dimension, -1 for
        dead ones.
    """
    array = as_codes(codes)
    bins = discretize(as_factors(factors, len(array)), N_BINS)
    active, varying = active_dims(array, min_std), varying_factors(bins)
    table = np.zeros((array.shape[1], bins.shape[1]))
    best = np.full(array.shape[1], -1)
    if len(active) == 0 or len(varying) == 0:
        nothing = {"best_factors": best, "active_dims": active.tolist()}
        return MetricResult(score=0.0, table=table, ci95=(0.0, 0.0), details=nothing)
    kept, kept_bins = array[:, active], bins[:, varying]
    found, scales = _robustness(kept, kept_bins, quantile)
    table[np.ix_(active, varying)] = found
    best[active] = varying[found.argmax(axis=1)]
    score = _score(found, scales)
    return MetricResult(
        score=score,
        table=table,
        ci95=bootstrap_rows(
            lambda rows: _score(*_robustness(kept[rows], kept_bins[rows], quantile)),
            len(array),
            score=score,
            n_bootstrap=n_bootstrap,
            rng=make_rng(seed),
        ),
        details={"best_factors": best, "active_dims": active.tolist()},
    )


def _robustness(codes: Floats, bins: Ints, quantile: float) -> tuple[Floats, Floats]:
    """R (dims, n_factors) and each dimension's largest deviation (dims,)."""
    scales = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    columns = []
    for column in bins.T:
        groups = [rows for rows in group_rows(column[:, None]) if len(rows) > 1]
        if not groups:
            columns.append(scales)  # no credit
            continue
        spreads = [_spread(codes[rows], quantile) for rows in groups]
        columns.append(np.average(spreads, axis=0, weights=[len(rows) for rows in groups]))
    return 1 - np.stack(columns, axis=1) / np.where(scales > 0, scales, 1.0)[:, None], scales


def _spread(codes: Floats, quantile: float) -> Floats:
    return np.asarray(np.quantile(np.abs(codes - codes.mean(axis=0)), quantile, axis=0))


def _score(table: Floats, scales: Floats) -> float:
    best, total = np.clip(table.max(axis=1), 0, 1), float(scales.sum())
    return float((best * scales).sum() / total) if total else 0.0
