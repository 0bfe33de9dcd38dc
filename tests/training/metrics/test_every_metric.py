"""What holds of every metric with labels: perfect, random, dead, uncertain, repeatable."""

import itertools
from functools import partial

import numpy as np
import pytest

from training.metrics import (
    VoteProtocol,
    beta_vae_score,
    boosting,
    dci,
    explicitness,
    factor_vae_score,
    forest,
    irs,
    lasso,
    mig,
    modularity,
    one_factor_varied_score,
    sap,
)

SIZES = (4, 4, 4)
FACTORS = np.tile(np.array(list(itertools.product(*(range(size) for size in SIZES)))), (8, 1))
CHANCE = 1 / len(SIZES)
VOTES = VoteProtocol(n_train=300, n_eval=300, n_bootstrap=50)
FEW = {"n_bootstrap": 8}
# name: (metric, score of perfect codes, scores of random ones)
METRICS = {
    "metric_1": (partial(factor_vae_score, protocol=VOTES), 1.0, (CHANCE - 0.12, CHANCE + 0.12)),
    "metric_2": (
        partial(one_factor_varied_score, protocol=VOTES),
        1.0,
        (CHANCE - 0.12, CHANCE + 0.12),
    ),
    "dci_lasso": (partial(dci, regressor=lasso(alpha=0.02), **FEW), 1.0, (0.0, 0.1)),
    "dci_forest": (partial(dci, regressor=forest(), **FEW), 1.0, (0.0, 0.1)),
    "dci_boosting": (partial(dci, regressor=boosting(), n_bootstrap=2), 1.0, (0.0, 0.15)),
    "mig": (partial(mig, **FEW), 1.0, (0.0, 0.05)),
    # A line cannot cut out a middle class: two of four are told apart, chance is one of four.
    "sap_classes": (partial(sap, **FEW), None, (0.0, 0.12)),
    "sap_values": (partial(sap, kind="values", **FEW), 1.0, (0.0, 0.05)),
    "beta_vae": (beta_vae_score, 1.0, (CHANCE - 0.12, CHANCE + 0.12)),
    "modularity": (partial(modularity, **FEW), 1.0, (0.0, 0.9)),
    "explicitness": (partial(explicitness, **FEW), 1.0, (0.4, 0.6)),
    "irs": (partial(irs, **FEW), 1.0, (0.0, 0.3)),
}


SLOW = {"dci_boosting"}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in METRICS]
)
def case(request):
    return METRICS[request.param]


@pytest.fixture(scope="module")
def perfect():
    """The factors in another order, one of them turned round, each with spread 1."""
    codes = FACTORS[:, [2, 0, 1]] * np.array([1.0, -1.0, 1.0])
    return (codes - codes.mean(axis=0)) / codes.std(axis=0)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(3).normal(size=(len(FACTORS), 4))


def test_perfect_codes_score_one(case, perfect):
    metric, best, _ = case
    result = metric(perfect, FACTORS, seed=0)
    if best is None:
        assert 0.2 < result.score < 0.5
    else:
        assert result.score == pytest.approx(best, abs=0.01)


def test_random_codes_score_chance(case, noise):
    metric, _, (low, high) = case
    assert low <= metric(noise, FACTORS, seed=0).score <= high


def test_dead_dimension_that_knows_everything_wins_nothing(case, perfect):
    """Of spread 1e-3: a normalization by its own spread would make it the best of all."""
    metric = case[0]
    tangled = perfect @ np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.4], [0.4, 0.0, 1.0]])
    dead = 1e-3 * perfect[:, :1]
    alone = metric(tangled, FACTORS, seed=0)
    beside = metric(np.concatenate([dead, tangled], axis=1), FACTORS, seed=0)
    assert beside.score == pytest.approx(alone.score, abs=1e-9)
    own = beside.table
    if alone.table.shape != beside.table.shape:  # a row a dimension
        assert not own[0].any()
        own = own[1:]
    np.testing.assert_allclose(own, alone.table, atol=1e-9)


def test_interval_holds_the_score_within_the_scale(case, perfect):
    metric = case[0]
    mixed = perfect + np.random.default_rng(5).normal(size=perfect.shape)
    result = metric(mixed, FACTORS, seed=0)
    low, high = result.ci95
    assert 0 <= low <= result.score <= high <= 1


def test_same_seed_gives_the_same_result(case, noise):
    metric = case[0]
    first, again = (metric(noise, FACTORS, seed=4) for _ in range(2))
    assert (first.score, first.ci95) == (again.score, again.ci95)
    np.testing.assert_array_equal(first.table, again.table)


def test_all_dead_codes_give_a_number(case):
    result = case[0](np.zeros((len(FACTORS), 2)), FACTORS, seed=0)
    assert 0 <= result.score <= 0.5
    assert np.isfinite(result.score)
