"""Explicitness: does a linear classifier read each factor's classes (arXiv 1802.05312, 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from training.metrics.inputs import (
    MIN_STD,
    Floats,
    Ints,
    active_dims,
    as_classes,
    as_codes,
    make_rng,
    split_rows,
    varying_factors,
    z_scored,
)
from training.metrics.results import MetricResult, bootstrap_rows

CHANCE = 0.5
_FRACTIONS = (2 / 3, 1 / 3)  # 10,000 and 5,000 rows in the studies of disentanglement_lib


def explicitness(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    min_std: float = MIN_STD,
    n_bootstrap: int = 30,
) -> MetricResult:
    """Held-out ROC area, one class against the rest, mean over classes, then over factors.

    One multinomial logistic regression a factor, on z-scored codes. Its penalty keeps it from
    cutting an ordered code into very many classes: 40 of them stay at about 0.97.

    Args:
        codes: (n, latent_dim); 15,000 rows are usual.
        factors: (n, n_factors) classes. Factors with one value are left out.
        seed: Of the split and the resampling.
        min_std: Dimensions that spread less are left out.
        n_bootstrap: Resampled row sets; the classifier is not refitted. 0 for no interval.

    Returns:
        Score in [0, 1], about 0.5 by chance, 0.5 where nothing moves or varies; `table` is
        (n_factors, largest number of classes), NaN where a class does not exist, or is missing
        among the rows that teach or that score: those are left out of the means.
    """
    array = as_codes(codes)
    classes = as_classes(factors, len(array))
    active, varying = active_dims(array, min_std), varying_factors(classes)
    rng = make_rng(seed)
    train, test = split_rows(len(array), _FRACTIONS, rng)
    chances = {
        int(k): _probabilities(array[:, active], classes[:, k], train, test) for k in varying
    }
    shape = (classes.shape[1], int(classes.max()) + 1)
    truth = classes[test]
    table = _areas(chances, truth, np.arange(len(test)), shape)
    score = _score(table)
    return MetricResult(
        score=score,
        table=table,
        ci95=bootstrap_rows(
            lambda rows: _score(_areas(chances, truth, rows, shape)),
            len(test),
            score=score,
            n_bootstrap=n_bootstrap,
            rng=rng,
        ),
        details={"active_dims": active.tolist()},
    )


def _probabilities(codes: Floats, classes: Ints, train: Ints, test: Ints) -> Floats:
    """Probability of each class, (test, classes); equal where nothing can be learned.

    NaN for a class that no training row has: the classifier does not know it.
    """
    known = np.unique(classes[train])
    chances = np.full((len(test), int(classes.max()) + 1), np.nan)
    chances[:, known] = 0.0
    if codes.shape[1] == 0 or len(known) == 1:
        return chances
    scaled = z_scored(codes, train)
    model = LogisticRegression(max_iter=1000).fit(scaled[train], classes[train])
    chances[:, model.classes_] = model.predict_proba(scaled[test])
    return chances


def _areas(chances: dict[int, Floats], truth: Ints, rows: Ints, shape: tuple[int, int]) -> Floats:
    table = np.full(shape, np.nan)
    for factor, by_class in chances.items():
        for number in range(by_class.shape[1]):
            scores, positive = by_class[rows, number], truth[rows, factor] == number
            if 0 < positive.sum() < len(rows) and not np.isnan(scores).any():
                table[factor, number] = _roc_area(scores, positive)
    return table


def _roc_area(scores: Floats, positive: Ints) -> float:
    """Chance that a positive row scores above a negative one, ties counting half (Mann-Whitney)."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _score(table: Floats) -> float:
    seen = ~np.isnan(table)
    rows = seen.any(axis=1)
    if not rows.any():
        return CHANCE
    sums = np.where(seen, table, 0.0).sum(axis=1)
    return float((sums[rows] / seen.sum(axis=1)[rows]).mean())
