import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from training.metrics import modularity

N = 3000


def make_factors(seed=0, sizes=(4, 3, 6)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def modularity_by_hand(codes, factors, n_bins=20):
    scores = []
    for code in codes.T:
        binned = np.digitize(code, np.histogram(code, n_bins)[1][:-1])
        squares = [mutual_info_score(factor, binned) ** 2 for factor in factors.T]
        largest = max(squares)
        scores.append(1 - (sum(squares) - largest) / (largest * (len(squares) - 1)))
    return scores


def test_modularity_agrees_with_the_definition_written_out():
    factors = make_factors()
    rng = np.random.default_rng(1)
    codes = factors @ rng.normal(size=(3, 4)) + rng.normal(size=(N, 4))
    result = modularity(codes, factors, seed=0)
    expected = modularity_by_hand(codes, factors)
    assert result.details["by_dim"] == pytest.approx(expected)
    assert result.score == pytest.approx(np.mean(expected))
    assert result.ci95[0] < result.score < result.ci95[1]


def test_modularity_of_perfect_codes_is_one_duplicates_included():
    factors = make_factors()
    codes = np.column_stack([factors, factors[:, 0]])
    assert modularity(codes, factors, seed=0).score == pytest.approx(1.0, abs=0.001)


def test_modularity_of_codes_that_mix_all_factors_is_low():
    factors = make_factors(sizes=(4, 4))
    codes = factors.sum(axis=1, keepdims=True)
    assert modularity(codes, factors, seed=0).score < 0.1


def test_modularity_of_noise_is_far_from_one():
    codes = np.random.default_rng(2).normal(size=(N, 8))
    assert modularity(codes, make_factors(), seed=0).score < 0.8


def test_modularity_ignores_dead_dimensions():
    factors = make_factors()
    codes = np.column_stack([factors, 1e-4 * factors.sum(axis=1), np.zeros(N)])
    result = modularity(codes, factors, seed=0)
    assert result.score == pytest.approx(1.0, abs=0.001)
    assert np.isnan(result.details["by_dim"][3:]).all()


def test_modularity_counts_only_factors_that_vary():
    factors = make_factors()
    constant = np.insert(factors, 0, 3, axis=1)
    codes = factors @ np.random.default_rng(1).normal(size=(3, 4))
    first, second = (modularity(codes, table, seed=0).score for table in (factors, constant))
    assert first == pytest.approx(second)


def test_modularity_where_nothing_is_known_is_zero():
    factors = make_factors()
    assert modularity(np.zeros((N, 2)), factors, seed=0).score == 0.0
    assert modularity(factors, np.ones((N, 1)), seed=0).score == 0.0


def test_modularity_with_a_single_factor_is_one():
    factors = make_factors(sizes=(4,))
    assert modularity(factors, factors, seed=0).score == 1.0
