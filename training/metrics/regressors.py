"""The regressors that DCI can stand on, each with the settings that published tables used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import Lasso

from training.metrics.inputs import Floats


@dataclass(frozen=True)
class Regressor:
    """How DCI predicts a factor from the codes.

    Attributes:
        name: For reports; includes the settings.
        build: Factor number and seed to a scikit-learn estimator.
        importances: Fitted estimator to one number >= 0 for each dimension.
        target: `values`: z-scored factor values, scored by NRMSE (lower is better, 1 is no better
            than the mean); `classes`: scored by accuracy (higher is better).
        fractions: Parts of the rows for training, (development,) and test.
        completeness: `mean` over factors, or `weighted` by each factor's total importance.
        n_bootstrap: Refits behind the intervals where the caller asks for none in particular.
    """

    name: str
    build: Callable[[int, int], Any]
    importances: Callable[[Any], Floats]
    target: Literal["values", "classes"]
    fractions: tuple[float, ...]
    completeness: Literal["mean", "weighted"]
    n_bootstrap: int = 20


def _coefficients(model: Any) -> Floats:
    return np.asarray(np.abs(model.coef_))


def _tree_importances(model: Any) -> Floats:
    return np.asarray(model.feature_importances_)


def lasso(alpha: float = 0.02) -> Regressor:
    """Lasso as in seqam-lab/bfvae (`eval_williams_metrics.py` at 6308734), alpha 0.02 or 0.2.

    With alpha 0.2 a perfect code shrinks to 0.8, so an NRMSE of 0.2 is the floor; an angle is no
    linear function of anything, so its NRMSE stays near 1.
    """
    return Regressor(
        name=f"lasso, alpha {alpha:g}",
        build=lambda factor, seed: Lasso(alpha=alpha),
        importances=_coefficients,
        target="values",
        fractions=(0.8, 0.1, 0.1),
        completeness="mean",
    )


def forest(n_trees: int = 10, *, max_depth: int | Sequence[int] = 5) -> Regressor:
    """Random forest as in seqam-lab/bfvae; depth 5, or one a factor (Oval: 12, 5, 12, 12)."""

    def build(factor: int, seed: int) -> Any:
        depth = max_depth if isinstance(max_depth, int) else max_depth[factor]
        return RandomForestRegressor(n_estimators=n_trees, max_depth=depth, random_state=seed)

    return Regressor(
        name=f"random forest, {n_trees} trees of depth {max_depth}",
        build=build,
        importances=_tree_importances,
        target="values",
        fractions=(0.8, 0.1, 0.1),
        completeness="mean",
    )


def boosting(n_rounds: int = 100) -> Regressor:
    """Gradient boosting as in disentanglement_lib: scikit-learn's defaults, 2 of 3 rows to train.

    Slow: a tree for each round and class. The intervals rest on few refits for that reason.
    """
    return Regressor(
        name=f"gradient boosting, {n_rounds} rounds",
        build=lambda factor, seed: GradientBoostingClassifier(
            n_estimators=n_rounds, random_state=seed
        ),
        importances=_tree_importances,
        target="classes",
        fractions=(2 / 3, 1 / 3),
        completeness="weighted",
        n_bootstrap=5,
    )
