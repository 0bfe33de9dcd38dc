import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Lasso

from training.metrics import udr

N = 500


def factors_and_rng(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, 3)), rng


def udr_by_hand(similarity):
    """Equation of arXiv 1905.12614 with every dimension informative."""
    total = 0.0
    for b in range(similarity.shape[1]):
        total += similarity[:, b].max() ** 2 / similarity[:, b].sum()
    for a in range(similarity.shape[0]):
        total += similarity[a].max() ** 2 / similarity[a].sum()
    return total / sum(similarity.shape)


def test_udr_with_rank_correlation_agrees_with_scipy():
    factors, rng = factors_and_rng()
    runs = [factors @ rng.normal(size=(3, 4)), factors @ rng.normal(size=(3, 3))]
    similarity = np.abs(spearmanr(*runs).statistic[:4, 4:])
    result = udr(runs, seed=0, similarity="spearman")
    assert result.table[0, 1] == pytest.approx(udr_by_hand(similarity))
    assert np.isnan(np.diag(result.table)).all()
    assert result.ci95[0] < result.score < result.ci95[1]


def test_udr_with_lasso_agrees_with_scikit_learn():
    factors, rng = factors_and_rng()
    runs = [factors @ rng.normal(size=(3, 3)), factors @ rng.normal(size=(3, 4))]
    scaled = [(run - run.mean(axis=0)) / run.std(axis=0) for run in runs]
    similarity = np.abs(Lasso(alpha=0.1).fit(*scaled).coef_).T
    assert udr(runs, seed=0).table[0, 1] == pytest.approx(udr_by_hand(similarity))


@pytest.mark.parametrize("similarity", ["lasso", "spearman"])
def test_udr_of_runs_equal_up_to_order_and_sign_is_high(similarity):
    factors, _ = factors_and_rng()
    runs = [factors, -factors[:, [2, 0, 1]], np.column_stack([factors, np.zeros(N)])]
    result = udr(runs, seed=0, similarity=similarity)
    assert result.score > 0.85
    assert result.details["informative_dims"][2] == [0, 1, 2]


def test_udr_ranks_rotated_runs_below_agreeing_ones():
    factors, rng = factors_and_rng()
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    runs = [factors, -factors[:, [1, 2, 0]], factors @ rotation]
    result = udr(runs, seed=0, similarity="spearman")
    assert result.details["by_run"].argmin() == 2
    assert result.details["best_run"] in (0, 1)
    assert len(result.details["ci95_by_run"]) == 3


def test_udr_of_a_run_is_the_median_over_the_others():
    factors, rng = factors_and_rng()
    runs = [factors, -factors, factors[:, ::-1], rng.normal(size=(N, 3))]
    result = udr(runs, seed=0, similarity="spearman")
    others = np.sort(result.table[0][1:])
    assert others[0] < 0.5 < others[1]
    assert result.details["by_run"][0] == others[1]


def test_udr_of_unrelated_runs_is_low():
    rng = np.random.default_rng(1)
    runs = [rng.normal(size=(N, 3)) for _ in range(3)]
    assert udr(runs, seed=0).score < 0.05


def test_udr_takes_informative_dimensions_from_the_kl():
    factors, _ = factors_and_rng()
    runs = [0.01 * factors, factors]
    result = udr(runs, seed=0, kl_by_run=[[0.02, 0.009, 2.0], [1.0, 1.0, 1.0]])
    assert result.details["informative_dims"] == [[0, 2], [0, 1, 2]]


def test_udr_of_dead_runs_is_zero():
    assert udr([np.zeros((9, 2)), np.zeros((9, 3))], seed=0).score == 0.0


def test_udr_refuses_one_run_and_tables_of_other_images():
    with pytest.raises(ValueError, match=r"at least two are needed, got 1\. Train the same"):
        udr([np.zeros((9, 2))], seed=0)
    with pytest.raises(ValueError, match="same images in each run; got tables of 8, 9 rows"):
        udr([np.zeros((9, 2)), np.zeros((8, 2))], seed=0)


@pytest.mark.parametrize("kl", [[[1, 1, 1]], [[1, 1, 1], [1, 1]], [[1, 1, 1], 1.0], [[1] * 3] * 3])
def test_udr_refuses_kl_that_does_not_belong_to_the_runs(kl):
    factors, _ = factors_and_rng()
    with pytest.raises(ValueError, match=r"for each run: shapes \[\(3,\), \(3,\)\]; got \[\(3,\)"):
        udr([factors, -factors], seed=0, kl_by_run=kl)
