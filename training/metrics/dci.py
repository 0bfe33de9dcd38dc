"""Disentanglement, completeness, informativeness (Eastwood and Williams, ICLR 2018; Metric III).

Each factor is regressed on the codes; R_jk is the importance of dimension j for factor k. A model
that predicts no better than a constant has importances all the same, made of noise: a lasso that
keeps one stray weight of random codes looks perfectly disentangled. So they count only with skill.
Disentanglement tells factors apart: where fewer than two of several count, there is none to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.inputs import (
    Bools,
    Floats,
    Ints,
    active_dims,
    as_classes,
    as_codes,
    as_factors,
    make_rng,
    split_rows,
    varying_factors,
    z_scored,
)
from training.metrics.regressors import Regressor, forest
from training.metrics.results import (
    UNBOUNDED,
    Interval,
    MetricResult,
    centred_interval,
    mean_of_known,
)

# Least part of a constant prediction's error that a model must take away to be believed.
MIN_SKILL = 0.02
SIGNIFICANCE = 3.0  # standard errors
MIN_TEST_ROWS = 10  # fewer have no spread to speak of, so all luck looks like skill


@dataclass(frozen=True, kw_only=True)
class DCIResult(MetricResult):
    """`score` is the disentanglement, `table` the importances (latent_dim, n_factors).

    Attributes:
        disentanglement: [0, 1], dimensions weighted by their importance.
        completeness: [0, 1].
        informativeness: NRMSE (lower is better) or accuracy (higher is better), by the regressor.
        by_dim: (latent_dim,) disentanglement; 0 for a dimension of no importance.
        completeness_by_factor: (n_factors,), NaN for a factor with one value.
        informativeness_by_factor: Likewise.
        completeness_ci95: 95 % interval, or None.
        informativeness_ci95: Likewise.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    by_dim: Floats
    completeness_by_factor: Floats
    informativeness_by_factor: Floats
    completeness_ci95: Interval | None
    informativeness_ci95: Interval | None


@dataclass(frozen=True)
class _Fit:
    """Importances (latent_dim, n_factors), and of each factor error or accuracy, and belief."""

    importances: Floats
    informativeness: Floats
    believed: Bools


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    regressor: Regressor | None = None,
    unpredicted: Literal["drop", "keep"] = "drop",
    n_bootstrap: int | None = None,
) -> DCIResult:
    """D_j = 1 - H_K(R_j.) weighted by sum_k R_jk; C_k = 1 - H_d(R_.k); I = test error.

    Importances depend on the regressor, its library and its seed: state them with the figures
    (`details["regressor"]`).

    Args:
        codes: (n, latent_dim).
        factors: (n, n_factors): natural values for `lasso` and `forest`, classes for `boosting`.
            Factors with one value are left out.
        seed: Of the split, the regressors and the resampling.
        regressor: `forest()` by default; `lasso()`, `boosting()`.
        unpredicted: `drop` takes importances of factors that are predicted hardly better than by
            a constant for 0, so random codes score near 0, and so it does with all of them where
            fewer than 10 rows are left to test on; `keep` counts them, as published code.
        n_bootstrap: Refits on resampled rows behind the intervals; by default the regressor's.

    Returns:
        The result. All-dead codes: D and C are 0, I is that of a constant prediction.
        `details["predicted_factors"]` are those predicted better than by a constant. Where fewer
        than two of several count, D is 0 and `details["disentanglement_is_defined"]` false.
    """
    chosen = regressor or forest()
    array = as_codes(codes)
    values = as_factors(factors, len(array))
    is_class = chosen.target == "classes"
    targets = as_classes(values, len(array)).astype(np.float64) if is_class else values
    setup = _Setup(array, targets, active_dims(array), regressor=chosen, unpredicted=unpredicted)
    rng = make_rng(seed)
    parts = split_rows(len(array), chosen.fractions, rng)
    train, test = parts[0], parts[-1]
    fit = setup.fit(train, test, seed=int(rng.integers(2**31)))
    n_refits = chosen.n_bootstrap if n_bootstrap is None else n_bootstrap
    refits = [
        setup.fit(rng.choice(train, len(train)), rng.choice(test, len(test)), seed=refit)
        for refit in range(n_refits if n_refits > 1 else 0)
    ]
    return _result(fit, refits, setup, n_test=len(test))


class _Setup:
    """Arrays and choices that all fits share."""

    def __init__(
        self,
        codes: Floats,
        targets: Floats,
        active: Ints,
        *,
        regressor: Regressor,
        unpredicted: str,
    ) -> None:
        self.codes, self.targets, self.active = codes, targets, active
        self.regressor, self._unpredicted = regressor, unpredicted
        self.varying = varying_factors(as_classes(targets, len(codes)))

    def fit(self, train: Ints, test: Ints, *, seed: int) -> _Fit:
        n_dims, n_factors = self.codes.shape[1], self.targets.shape[1]
        fit = _Fit(
            np.zeros((n_dims, n_factors)),
            np.full(n_factors, np.nan),
            np.zeros(n_factors, dtype=np.bool_),
        )
        inputs = z_scored(self.codes[:, self.active], train)
        for factor in self.varying:
            target = self.targets[:, factor]
            if self.regressor.target == "values":
                target = z_scored(target, train)
            prediction = constant = _constant(target[train], self.regressor)
            if len(self.active) and len(np.unique(target[train])) > 1:
                model = self.regressor.build(int(factor), seed)
                prediction = model.fit(inputs[train], target[train]).predict(inputs[test])
                fit.believed[factor] = self._is_believed(prediction, constant, target[test])
                if fit.believed[factor] or self._unpredicted == "keep":
                    fit.importances[self.active, factor] = self.regressor.importances(model)
            losses = _losses(prediction, target[test], self.regressor)
            spread = _spread(target, test)
            fit.informativeness[factor] = _informativeness(losses, spread, self.regressor)
        return fit

    def _is_believed(self, prediction: Floats, constant: float, target: Floats) -> bool:
        """Whether the model beats a constant, by a margin and beyond the luck of the test rows."""
        if len(target) < MIN_TEST_ROWS:
            return False
        constant_losses = _losses(constant, target, self.regressor)
        gains = constant_losses - _losses(prediction, target, self.regressor)
        luck = SIGNIFICANCE * gains.std() / np.sqrt(len(gains))
        return bool(gains.mean() > max(MIN_SKILL * constant_losses.mean(), luck))

    def can_tell_factors_apart(self, fit: _Fit) -> bool:
        """Whether two factors count, or the only one there is."""
        n_counted = len(self.varying) if self._unpredicted == "keep" else int(fit.believed.sum())
        return n_counted >= max(1, min(2, len(self.varying)))

    def disentanglement(self, fit: _Fit) -> tuple[float, Floats]:
        if not self.can_tell_factors_apart(fit):
            return 0.0, np.zeros(len(fit.importances))
        by_dim = _concentration(fit.importances[:, self.varying])
        return _weighted(by_dim, fit.importances.sum(axis=1)), by_dim

    def completeness(self, importances: Floats) -> tuple[float, Floats]:
        by_factor = np.full(importances.shape[1], np.nan)
        by_factor[self.varying] = _concentration(importances[:, self.varying].T)
        if len(self.varying) == 0:
            return 0.0, by_factor
        if self.regressor.completeness == "mean":
            return float(by_factor[self.varying].mean()), by_factor
        weights = importances.sum(axis=0)[self.varying]
        return _weighted(by_factor[self.varying], weights), by_factor


def _result(fit: _Fit, refits: list[_Fit], setup: _Setup, *, n_test: int) -> DCIResult:
    disentanglement, by_dim = setup.disentanglement(fit)
    completeness, by_factor = setup.completeness(fit.importances)
    informativeness = mean_of_known(fit.informativeness)
    replicates = [
        (
            setup.disentanglement(refit)[0],
            setup.completeness(refit.importances)[0],
            mean_of_known(refit.informativeness),
        )
        for refit in refits
    ]
    columns = list(zip(*replicates, strict=True)) or [(), (), ()]
    return DCIResult(
        score=disentanglement,
        table=fit.importances,
        ci95=centred_interval(disentanglement, columns[0]),
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=informativeness,
        by_dim=by_dim,
        completeness_by_factor=by_factor,
        informativeness_by_factor=fit.informativeness,
        completeness_ci95=centred_interval(completeness, columns[1]),
        informativeness_ci95=centred_interval(informativeness, columns[2], bounds=UNBOUNDED),
        details={
            "regressor": setup.regressor.name,
            "active_dims": setup.active.tolist(),
            "varying_factors": setup.varying.tolist(),
            "predicted_factors": np.flatnonzero(fit.believed).tolist(),
            "disentanglement_is_defined": setup.can_tell_factors_apart(fit),
            "n_test": n_test,
        },
    )


def _constant(target: Floats, regressor: Regressor) -> float:
    """The best constant prediction."""
    if regressor.target == "values":
        return float(target.mean())
    return float(np.bincount(target.astype(np.int64)).argmax())


def _losses(prediction: Floats | float, target: Floats, regressor: Regressor) -> Floats:
    """Squared error of each row, or 1 for a wrong class."""
    if regressor.target == "classes":
        return np.not_equal(prediction, target).astype(np.float64)
    return np.asarray(np.square(prediction - target))


def _spread(target: Floats, test: Ints) -> float:
    """Standard deviation of the test rows; where they are all the same, of all rows."""
    rows = target[test] if np.ptp(target[test]) > 0 else target
    return float(rows.std())


def _informativeness(losses: Floats, spread: float, regressor: Regressor) -> float:
    """NRMSE = sqrt(mean loss) / std(t), or accuracy = 1 - mean loss."""
    if regressor.target == "classes":
        return float(1 - losses.mean())
    return float(np.sqrt(losses.mean())) / spread


def _concentration(importances: Floats) -> Floats:
    """1 - H(row) / ln(columns) of each row; 0 for a row of zeros, 1 for a single column."""
    totals = importances.sum(axis=1, keepdims=True)
    shares = importances / np.where(totals > 0, totals, 1.0)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    entropy = -(shares * logs).sum(axis=1) / max(np.log(max(importances.shape[1], 1)), 1e-300)
    return np.where(totals[:, 0] > 0, 1 - entropy, 0.0)


def _weighted(values: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total else 0.0
