import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import Lasso

from training.metrics import boosting, dci, forest, lasso

N = 600
REGRESSORS = {"lasso": lasso(), "forest": forest(), "boosting": boosting(5)}


def make_factors(seed=0, sizes=(4, 3, 5)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def mixed_codes(factors, seed=1):
    rng = np.random.default_rng(seed)
    return factors @ rng.normal(size=(factors.shape[1], 4)) + 0.3 * rng.normal(size=(N, 4))


def scores_by_hand(importances, weighted):
    """Disentanglement and completeness by scipy's entropy."""
    by_dim = [1 - entropy(row, base=importances.shape[1]) for row in importances]
    disentanglement = np.average(by_dim, weights=importances.sum(axis=1))
    by_factor = [1 - entropy(column, base=importances.shape[0]) for column in importances.T]
    weights = importances.sum(axis=0) if weighted else None
    return disentanglement, np.average(by_factor, weights=weights)


@pytest.mark.parametrize(("name", "weighted"), [("lasso", False), ("boosting", True)])
def test_dci_scores_follow_from_the_importances(name, weighted):
    factors = make_factors()
    result = dci(mixed_codes(factors), factors, seed=0, regressor=REGRESSORS[name], n_bootstrap=0)
    expected = scores_by_hand(result.table, weighted)
    assert (result.disentanglement, result.completeness) == pytest.approx(expected)
    assert result.score == result.disentanglement
    assert result.ci95 is None


def test_dci_lasso_agrees_with_the_authors_procedure():
    """Split in order of our shuffle, z-score by the training part, NRMSE on the test part."""
    factors, rows = make_factors(), []
    codes = mixed_codes(factors)

    class Spy(np.random.Generator):
        def permutation(self, x):
            rows.append(super().permutation(x))
            return rows[-1]

    rng = Spy(np.random.PCG64(4))
    result = dci(codes, factors, seed=rng, regressor=lasso(0.05), n_bootstrap=0)
    train, test = rows[0][: int(0.8 * N)], rows[0][int(0.9 * N) :]
    scaled = (codes - codes[train].mean(axis=0)) / codes[train].std(axis=0)
    for k, factor in enumerate(factors.T):
        target = (factor - factor[train].mean()) / factor[train].std()
        model = Lasso(alpha=0.05).fit(scaled[train], target[train])
        error = model.predict(scaled[test]) - target[test]
        nrmse = np.sqrt(np.mean(error**2)) / target[test].std()
        assert result.informativeness_by_factor[k] == pytest.approx(nrmse)
        assert result.table[:, k] == pytest.approx(np.abs(model.coef_))


def test_dci_boosting_informativeness_is_held_out_accuracy():
    factors, rows = make_factors(), []
    codes = mixed_codes(factors)

    class Spy(np.random.Generator):
        def permutation(self, x):
            rows.append(super().permutation(x))
            return rows[-1]

    settings = {"regressor": boosting(3), "n_bootstrap": 0}
    result = dci(codes, factors, seed=Spy(np.random.PCG64(4)), **settings)
    train, test = rows[0][:400], rows[0][400:]
    accuracies = []
    for factor in factors.T:
        model = GradientBoostingClassifier(n_estimators=3, random_state=0)
        model.fit(codes[train], factor[train])
        accuracies.append(np.mean(model.predict(codes[test]) == factor[test]))
    # Trees only see the order of the codes, so scaling them changes nothing but rounding.
    assert result.informativeness == pytest.approx(np.mean(accuracies), abs=0.02)


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
def test_dci_of_perfect_codes_is_one(regressor):
    factors = make_factors()
    codes = np.column_stack([factors[:, [2, 0, 1]], np.random.default_rng(3).normal(size=N)])
    result = dci(codes, factors, seed=0, regressor=regressor, n_bootstrap=0)
    assert result.disentanglement > 0.97
    assert result.completeness > 0.97
    assert result.table.argmax(axis=0).tolist() == [1, 2, 0]
    good = result.informativeness > 0.97 if regressor.target == "classes" else True
    assert good
    assert regressor.target == "classes" or result.informativeness < 0.06


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
def test_dci_of_random_codes_is_near_zero(regressor):
    codes = np.random.default_rng(2).normal(size=(N, 4))
    result = dci(codes, make_factors(), seed=0, regressor=regressor, n_bootstrap=0)
    assert result.disentanglement < 0.1
    assert result.completeness < 0.1


def test_dci_can_keep_importances_of_what_is_not_predicted():
    codes = np.random.default_rng(2).normal(size=(N, 4))
    settings = {"regressor": lasso(), "n_bootstrap": 0}
    kept = dci(codes, make_factors(), seed=0, unpredicted="keep", **settings)
    dropped = dci(codes, make_factors(), seed=0, **settings)
    assert kept.table.sum() > 0
    assert dropped.table.sum() == 0


@pytest.mark.parametrize("regressor", REGRESSORS.values(), ids=REGRESSORS)
def test_dci_gives_a_dead_dimension_no_importance(regressor):
    factors = make_factors()
    codes = np.column_stack([1e-4 * factors[:, 0], factors, np.zeros(N)])
    result = dci(codes, factors, seed=0, regressor=regressor, n_bootstrap=0)
    assert result.table[[0, 4]].sum() == 0
    assert result.by_dim[[0, 4]].tolist() == [0.0, 0.0]
    assert result.details["active_dims"] == [1, 2, 3]


def test_dci_of_all_dead_codes_is_that_of_a_constant_prediction():
    factors = make_factors()
    result = dci(np.zeros((N, 2)), factors, seed=0, regressor=lasso())
    assert (result.disentanglement, result.completeness) == (0.0, 0.0)
    assert result.informativeness == pytest.approx(1.0, abs=0.02)
    accuracy = dci(np.zeros((N, 2)), factors, seed=0, regressor=boosting(2)).informativeness
    assert 0.2 < accuracy < 0.45


def test_dci_leaves_a_factor_with_one_value_out():
    factors = np.insert(make_factors(), 1, 7, axis=1)
    result = dci(factors[:, [0, 2, 3]], factors, seed=0, regressor=lasso(), n_bootstrap=0)
    assert np.isnan(result.completeness_by_factor[1])
    assert np.isnan(result.informativeness_by_factor[1])
    assert result.disentanglement > 0.97
    nothing = dci(factors, np.ones((N, 1)), seed=0, regressor=lasso(), n_bootstrap=0)
    assert (nothing.score, nothing.completeness, nothing.informativeness) == (0.0, 0.0, 0.0)


def test_dci_of_duplicated_dimensions_loses_completeness_only():
    factors = make_factors()
    codes = np.column_stack([factors, factors])
    codes = codes + 0.05 * np.random.default_rng(5).normal(size=codes.shape)
    result = dci(codes, factors, seed=0, regressor=lasso(0.001), n_bootstrap=0)
    assert result.disentanglement > 0.9
    assert result.completeness < 0.75


def test_dci_intervals_cover_the_scores():
    factors = make_factors()
    result = dci(mixed_codes(factors), factors, seed=0, regressor=lasso(), n_bootstrap=10)
    for score, interval in (
        (result.disentanglement, result.ci95),
        (result.completeness, result.completeness_ci95),
        (result.informativeness, result.informativeness_ci95),
    ):
        assert interval[0] < score < interval[1]


def test_forest_takes_a_depth_for_each_factor():
    factors = make_factors()
    shallow = dci(
        factors, factors, seed=0, regressor=forest(max_depth=(1, 9, 9)), n_bootstrap=0
    ).informativeness_by_factor
    assert shallow[0] > 0.2
    assert shallow[1:].max() < 0.05


def tangled_codes(seed):
    """Four dimensions that tell something of the first of four factors, and little of the rest."""
    rng = np.random.default_rng(seed)
    factors = rng.uniform(size=(1000, 4))
    weights = np.array([[1, 1, 1, 1], [0.3, -0.3, 0.2, 0.1], [0.1, 0.2, -0.2, 0.3], [0] * 4])
    codes = (factors - 0.5) * 12**0.5 @ weights + 0.9 * rng.normal(size=(1000, 4))
    return codes, factors


def test_dci_of_one_predicted_factor_has_no_disentanglement():
    codes, factors = tangled_codes(0)
    result = dci(codes, factors, seed=1, n_bootstrap=5)
    assert result.details["predicted_factors"] == [0]
    assert result.details["disentanglement_is_defined"] is False
    assert (result.score, result.disentanglement) == (0.0, 0.0)
    assert result.by_dim.tolist() == [0.0] * 4
    assert result.ci95[0] == 0.0
    kept = dci(codes, factors, seed=1, unpredicted="keep", n_bootstrap=0)
    assert kept.details["predicted_factors"] == [0]
    assert kept.details["disentanglement_is_defined"] is True
    assert 0 < kept.disentanglement < 0.2


def test_dci_of_a_single_factor_is_one():
    factors = make_factors()
    result = dci(factors, factors[:, :1], seed=0, n_bootstrap=0)
    assert result.disentanglement == 1.0
    assert result.details["disentanglement_is_defined"] is True
    nothing = dci(factors, np.ones((N, 1)), seed=0, n_bootstrap=0)
    assert nothing.details["disentanglement_is_defined"] is False


@pytest.mark.parametrize("n", [10, 20, 99])
def test_dci_believes_nothing_that_few_rows_test(n):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        codes, factors = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
        result = dci(codes, factors, seed=seed, n_bootstrap=0)
        assert result.details["predicted_factors"] == []
        assert (result.disentanglement, result.completeness) == (0.0, 0.0)


def test_dci_of_one_test_row_divides_its_error_by_the_spread_of_all():
    factors = np.arange(10.0)[:, None] * 1000
    result = dci(factors, factors, seed=0, regressor=lasso(0.0001), n_bootstrap=0)
    assert result.details["n_test"] == 1
    assert result.informativeness < 0.01
    far = dci(np.zeros((10, 1)), factors, seed=0, n_bootstrap=0).informativeness
    assert 0 < far < 2.5
