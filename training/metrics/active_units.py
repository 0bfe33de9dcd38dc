"""Active units: dimensions whose posterior mean moves with the image (arXiv 1509.00519, 5.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.inputs import Floats, as_codes, make_rng
from training.metrics.results import MetricResult, bootstrap_rows

ACTIVE_VARIANCE = 0.01  # squared prior standard deviations, the constant of the paper


def active_variance(mu: ArrayLike) -> Floats:
    """Var_x(mu_j) over the images: (n, latent_dim) to (latent_dim,)."""
    return np.asarray(as_codes(mu).var(axis=0))


def active_units(
    mu: ArrayLike,
    *,
    seed: int | np.random.Generator,
    threshold: float = ACTIVE_VARIANCE,
    n_bootstrap: int = 100,
) -> MetricResult:
    """Number of dimensions with Var_x(mu_j) > threshold.

    Args:
        mu: (n, latent_dim).
        seed: Of the resampling behind the interval.
        threshold: Squared prior standard deviations.
        n_bootstrap: Resampled row sets; 0 for no interval.

    Returns:
        Score in 0 … latent_dim; `table` (latent_dim, 1) holds the variances.
    """
    array = as_codes(mu)
    variances = array.var(axis=0)
    score = float(np.count_nonzero(variances > threshold))
    interval = bootstrap_rows(
        lambda rows: float(np.count_nonzero(array[rows].var(axis=0) > threshold)),
        len(array),
        score=score,
        n_bootstrap=n_bootstrap,
        rng=make_rng(seed),
        bounds=(0.0, float(array.shape[1])),
    )
    return MetricResult(score=score, table=variances[:, None], ci95=interval)
