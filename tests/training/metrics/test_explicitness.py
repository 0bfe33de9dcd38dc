import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from training.metrics import explicitness

N = 900


def make_factors(seed=0, sizes=(2, 3)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def test_explicitness_agrees_with_scikit_learns_roc_area():
    factors, rows = make_factors(), []
    rng = np.random.default_rng(1)
    codes = 0.5 * factors @ rng.normal(size=(2, 3)) + rng.normal(size=(N, 3))

    class Spy(np.random.Generator):
        def permutation(self, x):
            rows.append(super().permutation(x))
            return rows[-1]

    result = explicitness(codes, factors, seed=Spy(np.random.PCG64(4)))
    train, test = rows[0][:600], rows[0][600:]
    scaled = (codes - codes[train].mean(axis=0)) / codes[train].std(axis=0)
    areas = []
    for k in range(2):
        model = LogisticRegression(max_iter=1000).fit(scaled[train], factors[train, k])
        chances = model.predict_proba(scaled[test])
        areas.append([roc_auc_score(factors[test, k] == c, chances[:, c]) for c in model.classes_])
        assert result.table[k, : len(areas[-1])] == pytest.approx(areas[-1])
    assert np.isnan(result.table[0, 2])
    assert result.score == pytest.approx(np.mean([np.mean(row) for row in areas]))
    assert result.ci95[0] < result.score < result.ci95[1]


def test_explicitness_of_perfect_codes_is_one_in_any_arrangement():
    factors = make_factors()
    mixed = factors @ np.array([[1.0, 2.0], [-3.0, 0.5]])
    assert explicitness(factors, factors, seed=0).score == pytest.approx(1.0, abs=1e-3)
    assert explicitness(mixed, factors, seed=0).score == pytest.approx(1.0, abs=1e-3)


def test_explicitness_of_random_codes_is_chance():
    codes = np.random.default_rng(2).normal(size=(N, 4))
    assert explicitness(codes, make_factors(), seed=0).score == pytest.approx(0.5, abs=0.06)


def test_explicitness_where_nothing_moves_or_varies_is_chance():
    factors = make_factors()
    assert explicitness(np.zeros((N, 2)), factors, seed=0).score == 0.5
    assert explicitness(1e-4 * factors, factors, seed=0).score == 0.5
    assert explicitness(factors, np.ones((N, 2)), seed=0).score == 0.5


def test_explicitness_leaves_a_factor_with_one_value_out():
    factors = np.insert(make_factors(), 0, 1, axis=1)
    result = explicitness(factors, factors, seed=0)
    assert np.isnan(result.table[0]).all()
    assert result.score == pytest.approx(1.0, abs=1e-3)


def test_explicitness_leaves_out_a_class_that_no_training_row_has():
    factors = np.zeros((300, 1))
    factors[:1], factors[1:150] = 1, 2
    noise = np.random.default_rng(0).normal(size=(300, 2))
    codes = np.hstack([factors == 2, noise]).astype(float)
    for seed in range(6):
        result = explicitness(codes, factors, seed=seed)
        assert np.isnan(result.table[0, 1])
        assert result.score == pytest.approx(1.0, abs=0.02)
