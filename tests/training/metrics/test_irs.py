import numpy as np
import pytest

from training.metrics import irs

N = 2000


def make_factors(seed=0, sizes=(4, 3, 5)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def irs_by_hand(codes, factors, quantile):
    table = np.zeros((codes.shape[1], factors.shape[1]))
    scales = np.zeros(codes.shape[1])
    for j, code in enumerate(codes.T):
        scales[j] = max(abs(code - code.mean()))
        for k, factor in enumerate(factors.T):
            spreads, sizes = [], []
            for value in set(factor.tolist()):
                group = code[factor == value]
                spreads.append(np.percentile(abs(group - group.mean()), 100 * quantile))
                sizes.append(len(group))
            table[j, k] = 1 - np.average(spreads, weights=sizes) / scales[j]
    return np.average(table.max(axis=1), weights=scales), table


@pytest.mark.parametrize("quantile", [0.99, 1.0])
def test_irs_agrees_with_the_definition_written_out(quantile):
    factors = make_factors()
    rng = np.random.default_rng(1)
    codes = factors @ rng.normal(size=(3, 4)) + 0.2 * rng.normal(size=(N, 4))
    score, table = irs_by_hand(codes, factors, quantile)
    result = irs(codes, factors, seed=0, quantile=quantile)
    np.testing.assert_allclose(result.table, table)
    assert result.score == pytest.approx(score)
    assert result.ci95[0] < result.score < result.ci95[1]


def test_irs_of_perfect_codes_is_one_duplicates_included():
    factors = make_factors()
    codes = np.column_stack([factors[:, ::-1], factors[:, 0]])
    result = irs(codes, factors, seed=0)
    assert result.score == pytest.approx(1.0)
    assert result.details["best_factors"].tolist() == [2, 1, 0, 0]


def test_irs_of_uniform_noise_is_near_zero():
    codes = np.random.default_rng(2).uniform(size=(N, 3))
    assert irs(codes, make_factors(), seed=0).score < 0.05


def test_irs_ignores_dead_dimensions():
    factors = make_factors()
    noise = 1e-3 * np.random.default_rng(3).normal(size=(N, 2))
    result = irs(np.column_stack([noise, factors]), factors, seed=0)
    assert result.score == pytest.approx(1.0)
    assert result.details["best_factors"].tolist() == [-1, -1, 0, 1, 2]
    assert irs(noise, factors, seed=0).score == 0.0


def test_irs_gives_a_constant_factor_no_credit():
    factors = make_factors()
    alone = irs(factors.sum(axis=1, keepdims=True), factors, seed=0)
    beside = irs(factors.sum(axis=1, keepdims=True), np.insert(factors, 0, 2, axis=1), seed=0)
    assert beside.details["best_factors"].tolist() == [alone.details["best_factors"][0] + 1]
    assert beside.score == pytest.approx(alone.score)


@pytest.mark.parametrize("quantile", [0.99, 1.0])
def test_irs_of_equally_frequent_values_is_the_plain_mean_over_values(quantile):
    """As disentanglement_lib computes it on its full grids."""
    factors = np.tile(np.indices((4, 3, 5)).reshape(3, -1).T, (20, 1))
    rng = np.random.default_rng(1)
    codes = factors @ rng.normal(size=(3, 2)) + 0.2 * rng.normal(size=(len(factors), 2))
    result = irs(codes, factors, seed=0, quantile=quantile)
    for j, code in enumerate(codes.T):
        for k, factor in enumerate(factors.T):
            groups = [code[factor == value] for value in np.unique(factor)]
            spreads = [np.quantile(abs(group - group.mean()), quantile) for group in groups]
            expected = 1 - np.mean(spreads) / max(abs(code - code.mean()))
            assert result.table[j, k] == pytest.approx(expected)


def test_irs_gives_rare_values_little_credit():
    """Most bins of a lognormal factor hold one row or few, which hardly spread."""
    rng = np.random.default_rng(0)
    factors, codes = rng.lognormal(size=(1000, 1)), rng.normal(size=(1000, 3))
    assert irs(codes, factors, seed=0).score < 0.4


def test_irs_of_values_of_one_row_each_gives_no_credit():
    factors = np.arange(15.0)[:, None]
    assert irs(np.random.default_rng(0).normal(size=(15, 2)), factors, seed=0).score == 0.0


@pytest.mark.parametrize("offset", [0, 1.7e18])
def test_irs_where_nothing_varies_is_zero(offset):
    codes = np.random.default_rng(0).normal(size=(200, 3))
    factors = np.random.default_rng(1).normal(size=(200, 2)) * bool(offset) + offset
    result = irs(codes, factors, seed=0)
    assert (result.score, result.ci95) == (0.0, (0.0, 0.0))
    assert result.details["best_factors"].tolist() == [-1, -1, -1]
