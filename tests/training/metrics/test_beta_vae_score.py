import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.metrics import beta_vae_score
from training.metrics.samplers import NoSuchRows

N = 2000
FEW = {"n_train": 300, "n_eval": 300}


def make_factors(seed=0, sizes=(4, 3, 5)):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=N) for size in sizes], axis=1)


def score_by_hand(codes, factors, rng, n=300, n_pairs=64):
    """Search the rows that share factor k with each first image, then the same classifier."""
    points, labels = [], []
    for number in range(2 * n):
        k = number % factors.shape[1]
        first = rng.integers(N, size=n_pairs)
        second = [rng.choice(np.flatnonzero(factors[:, k] == factors[i, k])) for i in first]
        points.append(np.abs(codes[first] - codes[second]).mean(axis=0))
        labels.append(k)
    model = LogisticRegression(max_iter=1000).fit(points[:n], labels[:n])
    return model.score(points[n:], labels[n:])


def test_beta_vae_score_agrees_with_the_procedure_written_out():
    factors = make_factors()
    rng = np.random.default_rng(1)
    codes = 0.4 * factors + rng.normal(size=(N, 3))
    expected = score_by_hand(codes, factors, rng)
    result = beta_vae_score(codes, factors, seed=0, n_train=300, n_eval=1500)
    assert 0.4 < result.score < 0.9
    assert result.score == pytest.approx(expected, abs=0.1)
    assert result.ci95[0] < result.score < result.ci95[1]


def test_beta_vae_score_of_perfect_codes_is_one():
    factors = make_factors()
    result = beta_vae_score(factors, factors, seed=0, **FEW)
    assert result.score == 1.0
    assert result.table.tolist() == (100 * np.eye(3)).tolist()


def test_beta_vae_score_of_random_codes_is_chance():
    codes = np.random.default_rng(2).normal(size=(N, 4))
    result = beta_vae_score(codes, make_factors(), seed=0, n_train=1000, n_eval=1000)
    assert result.score == pytest.approx(1 / 3, abs=0.06)


def test_beta_vae_score_of_dead_codes_is_zero():
    rng = np.random.default_rng(3)
    factors = make_factors()
    assert beta_vae_score(1e-4 * rng.normal(size=(N, 3)), factors, seed=0, **FEW).score == 0.0
    assert beta_vae_score(factors, np.ones((N, 2)), seed=0, **FEW).score == 0.0


def test_beta_vae_score_leaves_a_factor_with_one_value_out():
    factors = np.insert(make_factors(), 1, 9, axis=1)
    result = beta_vae_score(factors, factors, seed=0, **FEW)
    assert result.score == 1.0
    assert result.table[1].sum() == 0


def test_beta_vae_score_with_a_single_factor_is_one():
    factors = make_factors(sizes=(4,))
    assert beta_vae_score(factors, factors, seed=0, **FEW).score == 1.0


def test_beta_vae_score_of_random_codes_does_not_know_classes_of_few_rows():
    """Pairs of a row with itself have no distance, which told the factor with more classes."""
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(400, size=N), rng.integers(5, size=N)], axis=1)
    result = beta_vae_score(rng.normal(size=(N, 5)), factors, seed=0, n_train=1000, n_eval=1000)
    assert result.score == pytest.approx(0.5, abs=0.1)


def test_beta_vae_score_of_random_codes_is_chance_on_few_rows():
    scores = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        factors = np.stack([rng.integers(20, size=100), rng.integers(3, size=100)], axis=1)
        codes = rng.normal(size=(100, 5))
        scores.append(beta_vae_score(codes, factors, seed=seed, **FEW).score)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.1)


def test_beta_vae_score_refuses_a_factor_whose_classes_have_one_row_each():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(5, size=N), rng.normal(size=N)], axis=1)
    with pytest.raises(NoSuchRows, match=r"two rows with the same value of factor 1; got none amo"):
        beta_vae_score(rng.normal(size=(N, 5)), factors, seed=0)
