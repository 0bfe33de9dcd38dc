"""Mutual information gap (arXiv 1802.04942, section 4.1), on histograms of the codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.information import binned, entropies, information_table
from training.metrics.inputs import MIN_STD, Floats, Ints, make_rng, varying_factors
from training.metrics.results import MetricResult, best_leads, bootstrap_rows, mean_of_known


def mig(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    min_std: float = MIN_STD,
    n_bootstrap: int = 30,
) -> MetricResult:
    """mean_k [I(z_(1); v_k) - I(z_(2); v_k)] / H(v_k), z_(1) and z_(2) the two best dimensions.

    Depends on the 20 equally wide bins and on the codes being means (or samples): compare only
    figures made in the same way. Bins bound the gap of a factor with more values than bins: by
    ln 20 / ln 40 = 0.81 for 40. A factor with one value is left out; a missing second dimension
    counts as 0, so does every dead one.

    Args:
        codes: (n, latent_dim); 10,000 rows are usual.
        factors: (n, n_factors) classes.
        seed: Of the resampling behind the interval.
        min_std: Dimensions that spread less carry no information by definition.
        n_bootstrap: Resampled row sets; 0 for no interval.

    Returns:
        Score in [0, 1]; `table` is the mutual information in nats, `details["gaps"]` the gap of
        each factor (NaN if it has one value), `details["entropies"]` the factors' entropies.
    """
    data = binned(codes, factors, min_std=min_std)
    bins, classes = data.bins, data.classes
    table, gaps = _gaps(bins, classes)
    score = mean_of_known(gaps)
    return MetricResult(
        score=score,
        table=table,
        ci95=bootstrap_rows(
            lambda rows: mean_of_known(_gaps(bins[rows], classes[rows])[1]),
            len(bins),
            score=score,
            n_bootstrap=n_bootstrap,
            rng=make_rng(seed),
        ),
        details={
            "gaps": gaps,
            "entropies": entropies(classes),
            "best_dims": table.argmax(axis=0),
            "active_dims": data.active.tolist(),
        },
    )


def _gaps(bins: Ints, classes: Ints) -> tuple[Floats, Floats]:
    table = information_table(bins, classes)
    gaps = np.full(table.shape[1], np.nan)
    varying = varying_factors(classes)
    gaps[varying] = best_leads(table)[varying] / entropies(classes)[varying]
    return table, gaps
