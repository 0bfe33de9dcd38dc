"""Unsupervised disentanglement ranking over several runs (arXiv 1905.12614, section 4).

Runs that found the true factors found the same dimensions, up to order and sign; tangled ones
differ from run to run. So a run's agreement with the others ranks it without labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import Lasso

from training.metrics.inputs import (
    MIN_STD,
    Floats,
    Ints,
    active_dims,
    as_codes,
    make_rng,
    z_scored,
)
from training.metrics.matching import correlations
from training.metrics.results import Interval, MetricResult, centred_interval

LASSO_ALPHA = 0.1  # as in disentanglement_lib
MIN_KL = 0.01  # nats; dimensions below are uninformative by the paper's definition


def udr(
    codes_by_run: Sequence[ArrayLike],
    *,
    seed: int | np.random.Generator,
    kl_by_run: Sequence[ArrayLike] | None = None,
    similarity: Literal["lasso", "spearman"] = "lasso",
    n_bootstrap: int = 20,
) -> MetricResult:
    """UDR_ij = [sum_b r_b² I_b / sum_a R_ab + sum_a r_a² I_a / sum_b R_ab] / (d_a + d_b).

    R is the similarity of the dimensions a of run i and b of run j, r the largest entry of a
    column or row, I whether the dimension is informative, d the number of informative ones. A
    run's score is the median over the other runs.

    Args:
        codes_by_run: One (n, latent_dim) table a run, of the same n images in the same order.
        seed: Of the resampling of images behind the interval.
        kl_by_run: Mean KL of each dimension, (latent_dim,) a run; informative is above 0.01 nats.
            Without it informative means a standard deviation of at least 0.05.
        similarity: Absolute weights of a lasso between z-scored codes, or absolute rank
            correlation.
        n_bootstrap: Resampled image sets; 0 for no interval.

    Returns:
        `score` is the mean of the runs' scores in `details["by_run"]`, best run in
        `details["best_run"]`; `table` (n_runs, n_runs) holds UDR_ij, NaN on the diagonal.

    Raises:
        ValueError: Fewer than two runs, tables of different images, or KLs of other dimensions.
    """
    runs = _checked(codes_by_run)
    if kl_by_run is not None:
        _require_kl_of_each_dimension(kl_by_run, runs)
    informative = [_informative(i, run, kl_by_run) for i, run in enumerate(runs)]
    compare = _lasso_weights if similarity == "lasso" else _rank_correlations
    kept = [run[:, dims] for run, dims in zip(runs, informative, strict=True)]
    table = _pairs(kept, compare)
    by_run = np.nanmedian(table, axis=1)
    rng, n = make_rng(seed), len(runs[0])
    replicates = []
    for _ in range(n_bootstrap):
        rows = rng.integers(n, size=n)
        sample = _pairs([run[rows] for run in kept], compare)
        replicates.append(np.nanmedian(sample, axis=1))
    return MetricResult(
        score=float(by_run.mean()),
        table=table,
        ci95=centred_interval(float(by_run.mean()), [run.mean() for run in replicates]),
        details={
            "by_run": by_run,
            "ci95_by_run": _intervals(by_run, replicates),
            "best_run": int(by_run.argmax()),
            "informative_dims": [dims.tolist() for dims in informative],
        },
    )


def _checked(codes_by_run: Sequence[ArrayLike]) -> list[Floats]:
    runs = [as_codes(codes) for codes in codes_by_run]
    if len(runs) < 2:
        raise ValueError(
            f"UDR compares runs: at least two are needed, got {len(runs)}. "
            "Train the same configuration with other seeds."
        )
    lengths = {len(run) for run in runs}
    if len(lengths) > 1:
        raise ValueError(
            "UDR needs the codes of the same images in each run; got tables of "
            f"{', '.join(str(length) for length in sorted(lengths))} rows."
        )
    return runs


def _require_kl_of_each_dimension(kl_by_run: Sequence[ArrayLike], runs: Sequence[Floats]) -> None:
    wanted = [(run.shape[1],) for run in runs]
    received = [np.shape(kl) for kl in kl_by_run]
    if received != wanted:
        raise ValueError(
            "`kl_by_run` needs one number a dimension for each run: "
            f"shapes {wanted}; got {received}. Pass the mean KL of the same runs in their order."
        )


def _informative(run: int, codes: Floats, kl_by_run: Sequence[ArrayLike] | None) -> Ints:
    moving = active_dims(codes, 0.0 if kl_by_run is not None else MIN_STD)
    if kl_by_run is None:
        return moving
    kl = np.asarray(kl_by_run[run], dtype=np.float64)
    return moving[kl[moving] > MIN_KL]


def _pairs(runs: Sequence[Floats], compare: Callable[[Floats, Floats], Floats]) -> Floats:
    """UDR of each ordered pair of runs, whose columns are the informative dimensions."""
    table = np.full((len(runs), len(runs)), np.nan)
    for i, first in enumerate(runs):
        for j, second in enumerate(runs):
            if i != j:
                total = first.shape[1] + second.shape[1]
                table[i, j] = _agreement(compare(first, second)) / total if total else 0.0
    return table


def _agreement(similarity: Floats) -> float:
    """sum over columns and over rows of (largest entry)² / sum of entries."""
    if similarity.size == 0:
        return 0.0
    parts = []
    for table in (similarity, similarity.T):
        sums = table.sum(axis=0)
        parts.append(np.square(table.max(axis=0)) / np.where(sums > 0, sums, 1.0))
    return float(parts[0].sum() + parts[1].sum())


def _lasso_weights(first: Floats, second: Floats) -> Floats:
    """|weight| of dimension a of the first run in the prediction of dimension b: (a, b)."""
    if first.shape[1] == 0 or second.shape[1] == 0:
        return np.zeros((first.shape[1], second.shape[1]))
    model = Lasso(alpha=LASSO_ALPHA, max_iter=10_000).fit(z_scored(first), z_scored(second))
    return np.asarray(np.abs(np.atleast_2d(model.coef_)).T)


def _rank_correlations(first: Floats, second: Floats) -> Floats:
    """|Spearman correlation|: (a, b)."""
    return np.abs(correlations(first, second, similarity="spearman"))


def _intervals(by_run: Floats, replicates: list[Floats]) -> list[Interval | None]:
    columns = np.array(replicates).reshape(-1, len(by_run)).T
    return [
        centred_interval(float(score), column)
        for score, column in zip(by_run, columns, strict=True)
    ]
