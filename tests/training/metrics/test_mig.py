import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from training.metrics import mig

N = 3000


def make_factors(seed=0, sizes=(4, 3, 6)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def mig_by_hand(codes, factors, n_bins=20):
    """The definition, with scikit-learn's mutual information."""
    gaps = []
    for factor in factors.T:
        found = []
        for code in codes.T:
            edges = np.histogram(code, n_bins)[1][:-1]
            found.append(mutual_info_score(factor, np.digitize(code, edges)))
        first, second = sorted(found, reverse=True)[:2]
        gaps.append((first - second) / mutual_info_score(factor, factor))
    return gaps


def test_mig_agrees_with_the_definition_written_out():
    factors = make_factors()
    rng = np.random.default_rng(1)
    codes = factors @ rng.normal(size=(3, 4)) + rng.normal(size=(N, 4))
    result = mig(codes, factors, seed=0)
    expected = mig_by_hand(codes, factors)
    assert result.details["gaps"] == pytest.approx(expected)
    assert result.score == pytest.approx(np.mean(expected))
    assert result.ci95[0] < result.score < result.ci95[1]


def test_mig_of_perfect_codes_is_one():
    factors = make_factors()
    result = mig(factors[:, [2, 0, 1]], factors, seed=0)
    assert result.score == pytest.approx(1.0, abs=0.01)
    assert result.details["best_dims"].tolist() == [1, 2, 0]


def test_mig_of_random_codes_is_near_zero():
    codes = np.random.default_rng(2).normal(size=(N, 5))
    assert mig(codes, make_factors(), seed=0).score < 0.01


def test_mig_of_a_duplicated_dimension_has_no_gap():
    factors = make_factors()
    codes = np.column_stack([factors, factors[:, 0]])
    gaps = mig(codes, factors, seed=0).details["gaps"]
    assert gaps[0] == pytest.approx(0.0)
    assert gaps[1:] == pytest.approx([1.0, 1.0], abs=0.01)


def test_mig_masks_a_dead_dimension_however_much_it_tells():
    factors = make_factors()
    codes = np.column_stack([1e-4 * factors[:, 0], factors[:, 1:]])
    result = mig(codes, factors, seed=0)
    assert result.table[0].tolist() == [0.0, 0.0, 0.0]
    assert result.details["active_dims"] == [1, 2]


def test_mig_leaves_a_factor_with_one_value_out():
    factors = np.insert(make_factors(), 1, 5, axis=1)
    result = mig(factors[:, [0, 2, 3]], factors, seed=0)
    assert np.isnan(result.details["gaps"][1])
    assert result.score == pytest.approx(1.0, abs=0.01)


def test_mig_where_nothing_is_known_is_zero():
    assert mig(np.zeros((N, 3)), make_factors(), seed=0).score == 0.0
    assert mig(make_factors(), np.ones((N, 2)), seed=0).score == 0.0


def test_mig_of_a_single_dimension_counts_the_missing_one_as_zero():
    factors = make_factors(sizes=(4,))
    assert mig(factors, factors, seed=0).score == pytest.approx(1.0)
