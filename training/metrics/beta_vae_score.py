"""The score of beta-VAE (Higgins et al., ICLR 2017): name the factor that pairs of images share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
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
)
from training.metrics.results import MetricResult, bootstrap_rows
from training.metrics.samplers import NoSuchRows

N_PAIRS = 64  # pairs averaged for one point, as in disentanglement_lib
_FRACTIONS = (2 / 3, 1 / 3)
_CHUNK = 500


def beta_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    n_train: int = 10_000,
    n_eval: int = 5000,
    min_std: float = MIN_STD,
) -> MetricResult:
    """Accuracy of a logistic regression from mean |z_1 - z_2| over pairs that share factor k, to k.

    Linear in the codes' absolute differences, so rotated codes can score 1 too: the weakest of
    these metrics.

    Args:
        codes: (n, latent_dim).
        factors: (n, n_factors) classes. Factors with one value are left out.
        seed: Of the pairs, the split and the resampling.
        n_train: Points that teach the classifier, of two thirds of the rows.
        n_eval: Held-out points that score it, of the others.
        min_std: Dimensions that spread less are left out.

    Returns:
        Score in [0, 1], about 1/n_factors by chance, 0 if all is dead or nothing varies, 1 for a
        single factor; `table` (n_factors, n_factors) counts held-out points, row = true factor,
        column = answer; `details["train_accuracy"]`.

    Raises:
        NoSuchRows: A factor has no class with two rows, among those that teach or that score.
    """
    array = as_codes(codes)
    classes = as_classes(factors, len(array))
    active, varying = active_dims(array, min_std), varying_factors(classes)
    n_factors = classes.shape[1]
    if len(active) == 0 or len(varying) == 0:
        empty = np.zeros((n_factors, n_factors))
        return MetricResult(score=0.0, table=empty, ci95=(0.0, 0.0))
    rng = make_rng(seed)
    kept = array[:, active]
    # Of rows of their own: the pairs of few rows are few, and would be known again.
    train, test = split_rows(len(array), _FRACTIONS, rng)
    points, labels = _points(kept[train], _all_pairs(classes[train], varying), n=n_train, rng=rng)
    eval_points, eval_labels = _points(
        kept[test], _all_pairs(classes[test], varying), n=n_eval, rng=rng
    )
    answers, train_accuracy = _classify(points, labels, eval_points)
    right = answers == eval_labels
    table = np.zeros((n_factors, n_factors))
    np.add.at(table, (eval_labels, answers), 1)
    score = float(right.mean())
    return MetricResult(
        score=score,
        table=table,
        ci95=bootstrap_rows(
            lambda rows: float(right[rows].mean()), n_eval, score=score, n_bootstrap=200, rng=rng
        ),
        details={"train_accuracy": train_accuracy, "active_dims": active.tolist()},
    )


class _Pairs:
    """Random pairs of different rows with the same class.

    A row beside itself has no distance: small classes would give their factor away by it.
    """

    def __init__(self, classes: Ints, factor: int) -> None:
        column = classes[:, factor]
        counts = np.bincount(column)
        self._order = np.argsort(column, kind="stable")
        self._sizes = counts[column[self._order]]
        self._starts = (np.cumsum(counts) - counts)[column[self._order]]
        self._paired = np.flatnonzero(self._sizes > 1)  # places in that order
        if len(self._paired) == 0:
            raise NoSuchRows("fixed", factor, n_rows=len(column))

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Two tables of row numbers of this shape."""
        places = self._paired[rng.integers(len(self._paired), size=shape)]
        starts, sizes = self._starts[places], self._sizes[places]
        step = rng.integers(1, sizes)
        others = starts + (places - starts + step) % sizes
        return self._order[places], self._order[others]


def _all_pairs(classes: Ints, factors: Ints) -> dict[int, _Pairs]:
    return {int(factor): _Pairs(classes, int(factor)) for factor in factors}


def _points(
    codes: Floats, pairs: dict[int, _Pairs], *, n: int, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """`n` mean absolute differences (n, active) and the factor that each one's pairs share."""
    labels = np.sort(np.resize(np.array(list(pairs)), n))
    points = []
    for factor, pairs_of_factor in pairs.items():
        left = int(np.count_nonzero(labels == factor))
        while left > 0:
            first, second = pairs_of_factor.draw((min(left, _CHUNK), N_PAIRS), rng)
            gaps = np.abs(codes[first] - codes[second])  # (chunk, pairs, active)
            points.append(gaps.mean(axis=1))
            left -= _CHUNK
    return np.concatenate(points), labels


def _classify(points: Floats, labels: Ints, eval_points: Floats) -> tuple[Ints, float]:
    if len(np.unique(labels)) == 1:
        return np.full(len(eval_points), labels[0]), 1.0
    model = LogisticRegression(max_iter=1000).fit(points, labels)
    return model.predict(eval_points), float(model.score(points, labels))
