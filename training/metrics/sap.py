"""Separated attribute predictability (arXiv 1711.00848, section 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.svm import LinearSVC

from training.metrics.inputs import (
    MIN_STD,
    Floats,
    Ints,
    active_dims,
    as_classes,
    as_codes,
    as_factors,
    make_rng,
    split_rows,
    varying_factors,
)
from training.metrics.results import MetricResult, best_leads, bootstrap_rows

_FRACTIONS = (2 / 3, 1 / 3)  # 10,000 and 5,000 rows in the studies of disentanglement_lib


def sap(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    kind: Literal["classes", "values"] = "classes",
    min_std: float = MIN_STD,
    n_bootstrap: int = 100,
) -> MetricResult:
    """mean_k of the gap between the two dimensions that predict factor k best.

    `classes`: held-out accuracy of a linear SVM (C = 0.01, balanced classes) on one dimension. A
    line cannot cut a middle class out of an ordered code and chance is above 0, so perfect codes
    stay below 1 (1/2 for two classes). `values`: squared correlation; 1 for perfect linear codes.

    Args:
        codes: (n, latent_dim); 15,000 rows are usual.
        factors: (n, n_factors). Factors with one value are left out.
        seed: Of the split and the resampling.
        kind: How a factor is predicted.
        min_std: Dimensions that spread less predict nothing: their score is 0.
        n_bootstrap: Resampled row sets; predictors are not refitted. 0 for no interval.

    Returns:
        Score in [0, 1], 0 if all is dead; `table` holds the score of each pair,
        `details["gaps"]` the gap of each factor (NaN for one value).
    """
    array = as_codes(codes)
    classes = as_classes(factors, len(array))
    active, varying = active_dims(array, min_std), varying_factors(classes)
    rng = make_rng(seed)
    pairs: _Correlations | _Accuracies
    if kind == "values":
        pairs = _Correlations(array, as_factors(factors, len(array)), active, varying)
        n_rows = len(array)
    else:
        train, test = split_rows(len(array), _FRACTIONS, rng)
        pairs = _Accuracies(array, classes, active, varying, (train, test))
        n_rows = len(test)
    table = pairs.table(np.arange(n_rows))
    score = _score(table, varying)
    interval = bootstrap_rows(
        lambda rows: _score(pairs.table(rows), varying),
        n_rows,
        score=score,
        n_bootstrap=n_bootstrap,
        rng=rng,
    )
    gaps = np.full(classes.shape[1], np.nan)
    gaps[varying] = best_leads(table)[varying]
    details = {"gaps": gaps, "active_dims": active.tolist()}
    return MetricResult(score=score, table=table, ci95=interval, details=details)


class _Correlations:
    """Squared correlation of each pair on chosen rows."""

    def __init__(self, codes: Floats, values: Floats, active: Ints, varying: Ints) -> None:
        self._codes, self._values, self._active, self._varying = codes, values, active, varying

    def table(self, rows: Ints) -> Floats:
        table = np.zeros((self._codes.shape[1], self._values.shape[1]))
        codes = _unit(self._codes[rows][:, self._active])
        values = _unit(self._values[rows][:, self._varying])
        table[np.ix_(self._active, self._varying)] = np.square(codes.T @ values)
        return table


class _Accuracies:
    """Held-out accuracy of each pair; predictions are made once."""

    def __init__(
        self, codes: Floats, classes: Ints, active: Ints, varying: Ints, split: tuple[Ints, Ints]
    ) -> None:
        train, test = split
        self._shape = (codes.shape[1], classes.shape[1])
        self._right = {
            (int(dim), int(k)): _predict(codes[:, [dim]], classes[:, k], train, test)
            == classes[test, k]
            for dim in active
            for k in varying
        }

    def table(self, rows: Ints) -> Floats:
        table = np.zeros(self._shape)
        for pair, right in self._right.items():
            table[pair] = right[rows].mean()
        return table


def _predict(column: Floats, classes: Ints, train: Ints, test: Ints) -> Ints:
    if len(np.unique(classes[train])) == 1:
        return np.full(len(test), classes[train[0]])
    model = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
    return np.asarray(model.fit(column[train], classes[train]).predict(column[test]))


def _unit(table: Floats) -> Floats:
    """Centered columns of length 1; a constant one is 0."""
    centered = table - table.mean(axis=0)
    lengths = np.linalg.norm(centered, axis=0)
    return np.asarray(centered / np.where(lengths > 0, lengths, 1.0))


def _score(table: Floats, varying: Ints) -> float:
    return float(best_leads(table)[varying].mean()) if len(varying) else 0.0
