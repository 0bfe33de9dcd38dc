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
    varying_factors,
)
from training.metrics.results import MetricResult, bootstrap_rows

N_PAIRS = 64  # pairs averaged for one point, as in disentanglement_lib
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
        n_train: Points that teach the classifier.
        n_eval: Held-out points that score it.
        min_std: Dimensions that spread less are left out.

    Returns:
        Score in [0, 1], about 1/n_factors by chance, 0 if all is dead or nothing varies, 1 for a
        single factor; `table` (n_factors, n_factors) counts held-out points, row = true factor,
        column = answer; `details["train_accuracy"]`.
    """
    array = as_codes(codes)
    classes = as_classes(factors, len(array))
    active, varying = active_dims(array, min_std), varying_factors(classes)
    n_factors = classes.shape[1]
    if len(active) == 0 or len(varying) == 0:
        empty = np.zeros((n_factors, n_factors))
        return MetricResult(score=0.0, table=empty, ci95=(0.0, 0.0))
    rng = make_rng(seed)
    partners = {int(k): _Partners(classes[:, k]) for k in varying}
    kept = array[:, active]
    points, labels = _points(kept, partners, n=n_train, rng=rng)
    eval_points, eval_labels = _points(kept, partners, n=n_eval, rng=rng)
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


class _Partners:
    """Random rows with the same class as given rows."""

    def __init__(self, column: Ints) -> None:
        self._column = column
        self._order = np.argsort(column, kind="stable")
        self._counts = np.bincount(column)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, rows: Ints, rng: np.random.Generator) -> Ints:
        groups = self._column[rows]
        offsets = rng.integers(self._counts[groups])
        return np.asarray(self._order[self._starts[groups] + offsets])


def _points(
    codes: Floats, partners: dict[int, _Partners], *, n: int, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """`n` mean absolute differences (n, active) and the factor that each one's pairs share."""
    labels = np.sort(np.resize(np.array(list(partners)), n))
    points = []
    for factor, partner in partners.items():
        left = int(np.count_nonzero(labels == factor))
        while left > 0:
            rows = rng.integers(len(codes), size=(min(left, _CHUNK), N_PAIRS))
            gaps = np.abs(codes[rows] - codes[partner.draw(rows, rng)])  # (chunk, pairs, active)
            points.append(gaps.mean(axis=1))
            left -= _CHUNK
    return np.concatenate(points), labels


def _classify(points: Floats, labels: Ints, eval_points: Floats) -> tuple[Ints, float]:
    if len(np.unique(labels)) == 1:
        return np.full(len(eval_points), labels[0]), 1.0
    model = LogisticRegression(max_iter=1000).fit(points, labels)
    return model.predict(eval_points), float(model.score(points, labels))
