import numpy as np
import pytest
from sklearn.svm import LinearSVC

from training.metrics import sap

N = 900


def make_factors(seed=0, sizes=(2, 3)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def test_sap_of_values_agrees_with_squared_correlations():
    factors = make_factors()
    rng = np.random.default_rng(1)
    codes = factors @ rng.normal(size=(2, 3)) + rng.normal(size=(N, 3))
    expected = np.corrcoef(codes, factors, rowvar=False)[:3, 3:] ** 2
    result = sap(codes, factors, seed=0, kind="values")
    np.testing.assert_allclose(result.table, expected)
    ordered = np.sort(expected, axis=0)
    assert result.score == pytest.approx((ordered[-1] - ordered[-2]).mean())
    assert result.ci95[0] < result.score < result.ci95[1]


def test_sap_of_classes_agrees_with_held_out_svm_accuracy():
    factors, rows = make_factors(), []
    rng = np.random.default_rng(1)
    codes = factors @ rng.normal(size=(2, 3)) + rng.normal(size=(N, 3))

    class Spy(np.random.Generator):
        def permutation(self, x):
            rows.append(super().permutation(x))
            return rows[-1]

    result = sap(codes, factors, seed=Spy(np.random.PCG64(4)))
    train, test = rows[0][:600], rows[0][600:]
    for j in range(3):
        for k in range(2):
            model = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
            model.fit(codes[train][:, [j]], factors[train, k])
            accuracy = model.score(codes[test][:, [j]], factors[test, k])
            assert result.table[j, k] == pytest.approx(accuracy)


def test_sap_of_perfect_linear_codes_is_one():
    factors = make_factors()
    result = sap(3 - 2 * factors[:, ::-1], factors, seed=0, kind="values")
    assert result.score == pytest.approx(1.0, abs=0.02)


def test_sap_of_perfect_codes_for_two_classes_is_the_distance_to_chance():
    factors = make_factors(sizes=(2, 2))
    assert sap(factors, factors, seed=0).score == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_sap_of_random_codes_is_near_zero(kind):
    codes = np.random.default_rng(2).normal(size=(N, 4))
    assert sap(codes, make_factors(), seed=0, kind=kind).score < 0.05


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_sap_masks_dead_dimensions(kind):
    factors = make_factors()
    codes = np.column_stack([1e-4 * factors[:, 0], factors[:, 1], np.zeros(N)])
    result = sap(codes, factors, seed=0, kind=kind)
    assert result.table[[0, 2]].sum() == 0
    assert sap(np.zeros((N, 2)), factors, seed=0, kind=kind).score == 0.0


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_sap_leaves_a_factor_with_one_value_out(kind):
    factors = np.insert(make_factors(), 0, 4, axis=1)
    result = sap(factors[:, 1:], factors, seed=0, kind=kind)
    assert np.isnan(result.details["gaps"][0])
    assert result.score > 0.4
    assert sap(factors, np.ones((N, 1)), seed=0, kind=kind).score == 0.0


def test_sap_of_duplicated_dimensions_has_no_gap():
    factors = make_factors()
    result = sap(np.column_stack([factors, factors]), factors, seed=0, kind="values")
    assert result.score == pytest.approx(0.0)
