"""Counting and scoring of votes, through the doors of Metrics I and II."""

import numpy as np
import pytest

from training.metrics import (
    PAPER,
    ROBUST,
    VoteProtocol,
    factor_vae_score,
    factor_vae_score_on_grid,
    one_factor_varied_score,
    one_factor_varied_score_on_grid,
)
from training.metrics.votes import VoteMetric

SIZES = (6, 8, 5)
GRID = np.stack(np.unravel_index(np.arange(np.prod(SIZES)), SIZES), axis=1)
ARRAY_METRICS = [factor_vae_score, one_factor_varied_score]
GRID_METRICS = [factor_vae_score_on_grid, one_factor_varied_score_on_grid]
PERFECT = GRID / np.array(SIZES)


def with_dead_dims(rng, std=1e-4):
    """Factors in dims 4, 1, 2 of six; the rest barely moves."""
    codes = std * rng.normal(size=(len(GRID), 6))
    codes[:, [4, 1, 2]] = PERFECT
    return codes


@pytest.mark.parametrize("metric", ARRAY_METRICS)
def test_array_metric_gives_perfect_codes_one(metric):
    result = metric(PERFECT, GRID, seed=0)
    assert result.score == 1.0
    assert result.ci95 == (pytest.approx(0.025 ** (1 / ROBUST.n_eval)), 1.0)
    assert result.dim_factor.tolist() == [0, 1, 2]


@pytest.mark.parametrize("metric", ARRAY_METRICS)
def test_array_metric_gives_random_codes_chance(metric):
    # Enough rows that held-out votes do not draw the training votes' images again.
    factors = np.tile(GRID, (40, 1))
    codes = np.random.default_rng(1).normal(size=(len(factors), 6))
    result = metric(codes, factors, seed=0)
    assert abs(result.score - 1 / 3) < 0.06
    low, high = result.ci95
    assert low < result.score < high


@pytest.mark.parametrize("metric", GRID_METRICS)
def test_grid_metric_masks_dead_dims_and_numbers_the_rest_truly(metric):
    codes = with_dead_dims(np.random.default_rng(2))
    result = metric(codes.__getitem__, SIZES, seed=0)
    assert result.score == 1.0
    assert result.active_dims == [1, 2, 4]
    assert result.dim_factor.tolist() == [-1, 1, 2, -1, 0, -1]
    assert result.table[[0, 3, 5]].sum() == 0


def test_paper_protocol_lets_a_dead_dimension_win_metric_two():
    codes = with_dead_dims(np.random.default_rng(3))
    paper = one_factor_varied_score_on_grid(codes.__getitem__, SIZES, seed=0, protocol=PAPER)
    assert paper.table[[0, 3, 5]].sum() > 0.5 * paper.table.sum()
    assert paper.eval_accuracy is None
    assert paper.score == paper.train_accuracy


@pytest.mark.parametrize("metric", GRID_METRICS)
def test_grid_metric_with_given_dims_lets_only_those_vote(metric):
    codes = np.random.default_rng(4).normal(size=(len(GRID), 6))
    result = metric(codes.__getitem__, SIZES, seed=0, dims=[5, 3])
    assert result.active_dims == [3, 5]
    assert np.flatnonzero(result.table.sum(axis=1)).tolist() == [3, 5]


def test_given_constant_dimension_gets_no_vote():
    codes = np.column_stack([PERFECT, np.full(len(GRID), 2.5)])
    result = factor_vae_score(codes, GRID, seed=0, dims=[0, 1, 2, 3])
    assert result.active_dims == [0, 1, 2]
    assert result.score == 1.0


@pytest.mark.parametrize("metric", GRID_METRICS)
def test_paper_protocol_gives_a_constant_dimension_no_vote(metric):
    codes = np.column_stack([np.full(len(GRID), 2.5), PERFECT])
    result = metric(codes.__getitem__, SIZES, seed=0, protocol=PAPER)
    assert result.score == 1.0
    assert result.active_dims == [1, 2, 3]


def test_given_dims_outside_the_codes_are_refused():
    with pytest.raises(ValueError, match=r"`dims` must lie in 0 to 2.*got \[0, 3\]"):
        factor_vae_score(PERFECT, GRID, seed=0, dims=[0, 3])


@pytest.mark.parametrize("metric", ARRAY_METRICS)
def test_all_dead_codes_score_zero(metric):
    result = metric(np.zeros((len(GRID), 4)), GRID, seed=0)
    assert result.score == 0.0
    assert result.ci95 == (0.0, 0.0)
    assert result.active_dims == []
    assert np.isnan(result.factor_accuracy).all()


@pytest.mark.parametrize("metric", ARRAY_METRICS)
def test_factor_with_one_value_casts_no_vote(metric):
    factors = np.insert(GRID, 1, 7, axis=1)
    result = metric(PERFECT, factors, seed=0)
    assert result.score == 1.0
    assert result.table[:, 1].sum() == 0
    assert np.isnan(result.factor_accuracy[1])
    assert result.factor_accuracy[[0, 2, 3]].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("metric", GRID_METRICS)
def test_grid_of_one_varying_factor_is_trivially_right(metric):
    codes = np.arange(5.0)[:, None]
    assert metric(codes.__getitem__, (1, 5), seed=0).score == 1.0


def test_duplicate_dimensions_share_votes_without_loss():
    codes = np.column_stack([PERFECT, PERFECT[:, 0]])
    result = factor_vae_score(codes, GRID, seed=0)
    assert result.score == 1.0
    assert result.dim_factor[0] == 0


@pytest.mark.parametrize("metric", GRID_METRICS)
def test_leftover_votes_go_to_the_first_factors(metric):
    protocol = VoteProtocol(n_train=20, n_eval=11)
    result = metric(PERFECT.__getitem__, SIZES, seed=0, protocol=protocol)
    assert result.train_table.sum(axis=0).tolist() == [7, 7, 6]
    assert result.table.sum(axis=0).tolist() == [4, 4, 3]
    assert result.score == 1.0


def test_held_out_accuracy_is_below_training_accuracy_on_noise():
    factors = np.tile(GRID, (40, 1))
    codes = np.random.default_rng(5).normal(size=(len(factors), 30))
    protocol = VoteProtocol(n_train=60, n_eval=600)
    result = factor_vae_score(codes, factors, seed=0, protocol=protocol)
    assert result.eval_accuracy < result.train_accuracy - 0.1
    assert result.score == result.eval_accuracy


@pytest.mark.parametrize("metric", GRID_METRICS)
def test_same_seed_gives_the_same_table(metric):
    codes = np.random.default_rng(6).normal(size=(len(GRID), 5))
    first, again, other = (metric(codes.__getitem__, SIZES, seed=s) for s in (7, 7, 8))
    np.testing.assert_array_equal(first.table, again.table)
    assert (first.table != other.table).any()


def test_interval_covers_repeated_evaluations():
    rng = np.random.default_rng(9)
    codes = PERFECT @ rng.normal(size=(3, 4))
    protocol = VoteProtocol(n_train=300, n_eval=300)
    results = [factor_vae_score(codes, GRID, seed=s, protocol=protocol) for s in range(20)]
    mean = np.mean([r.score for r in results])
    covered = sum(r.ci95[0] <= mean <= r.ci95[1] for r in results)
    assert covered >= 16


def test_interval_of_votes_that_are_all_right_holds_what_others_would_give():
    """True accuracy .99: of 100 votes all are right in a third of the cases."""
    right = 0.99
    rng = np.random.default_rng(0)

    def pick(ratios):
        own = np.arange(len(ratios)) * 2 // len(ratios)
        return np.where(rng.random(len(ratios)) < right, own, 1 - own)

    metric = VoteMetric(draw=lambda sampler, *rest: sampler.fixed(*rest), pick=pick)
    codes = np.random.default_rng(1).normal(size=(16, 2))
    factors = np.indices((4, 4)).reshape(2, -1).T
    protocol = VoteProtocol(n_train=2000, n_eval=100, n_bootstrap=200)
    results = [metric(codes, factors, seed=s, protocol=protocol) for s in range(60)]
    perfect = [result for result in results if result.score == 1.0]
    assert len(perfect) > 10
    assert {result.ci95[1] for result in perfect} == {1.0}
    assert [result.ci95[0] for result in perfect] == pytest.approx([0.025**0.01] * len(perfect))
    assert sum(result.ci95[0] <= right <= result.ci95[1] for result in results) >= 55


@pytest.mark.parametrize("metric", GRID_METRICS)
@pytest.mark.parametrize(("n_train", "n_eval"), [(2, 0), (2, 800), (800, 2)])
def test_fewer_votes_than_factors_are_refused(metric, n_train, n_eval):
    protocol = VoteProtocol(n_train=n_train, n_eval=n_eval)
    with pytest.raises(ValueError, match=r"each of the 3 factors .* got `n_train` \d+ and `n_eva"):
        metric(PERFECT.__getitem__, SIZES, seed=0, protocol=protocol)


def test_array_metric_asks_for_classes_when_values_never_repeat():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"same value of factor 0; got none.*`discretize"):
        factor_vae_score(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), seed=0)


def test_robust_is_the_default():
    assert factor_vae_score(PERFECT, GRID, seed=0).table.sum() == ROBUST.n_eval


def test_dimension_without_training_votes_gets_no_held_out_vote_right():
    winners = iter([0, 1])  # All training votes to dimension 0, all others to dimension 1.
    metric = VoteMetric(
        draw=lambda sampler, factor, n, rng: sampler.fixed(factor, n, rng),
        pick=lambda ratios: np.full(len(ratios), next(winners)),
    )
    codes = np.random.default_rng(0).normal(size=(64, 2))
    result = metric(codes, np.indices((8, 8)).reshape(2, -1).T, seed=0)
    assert result.table[1].sum() == result.table.sum() > 0
    assert result.score == 0
    assert result.dim_factor.tolist() == [0, -1]
