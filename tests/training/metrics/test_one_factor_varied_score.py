import numpy as np
import pytest

from training.metrics import (
    PAPER,
    VoteProtocol,
    one_factor_varied_score,
    one_factor_varied_score_on_grid,
)

SIZES = (6, 8, 5)
GRID = np.stack(np.unravel_index(np.arange(np.prod(SIZES)), SIZES), axis=1)


def metric_two_by_hand(codes, rng, n_votes):
    """The authors' procedure written out: search the rows that share all other factors."""
    overall = np.var(codes, axis=0)
    counts = np.zeros((codes.shape[1], len(SIZES)))
    for factor in range(len(SIZES)):
        others = [k for k in range(len(SIZES)) if k != factor]
        for _ in range(n_votes // len(SIZES)):
            values = [rng.integers(SIZES[k]) for k in others]
            rows = np.flatnonzero((GRID[:, others] == values).all(axis=1))
            counts[np.argmax(np.var(codes[rows], axis=0) / overall), factor] += 1
    return counts.max(axis=1).sum() / counts.sum(), counts / counts.sum(axis=0)


def test_one_factor_varied_score_agrees_with_the_procedure_written_out():
    rng = np.random.default_rng(0)
    codes = GRID @ rng.normal(size=(3, 4)) + rng.normal(size=(len(GRID), 4))
    protocol = VoteProtocol(n_train=6000, n_eval=0, ddof=0, min_std=0)
    score, shares = metric_two_by_hand(codes, rng, n_votes=6000)
    result = one_factor_varied_score_on_grid(codes.__getitem__, SIZES, seed=1, protocol=protocol)
    assert abs(result.score - score) < 0.02
    np.testing.assert_allclose(result.table / 2000, shares, atol=0.04)


def test_one_factor_varied_score_set_is_the_whole_line_of_the_grid():
    seen = []

    def encode(indices):
        seen.append(indices)
        return GRID[indices].astype(float)

    protocol = VoteProtocol(n_train=3, n_eval=0)
    one_factor_varied_score_on_grid(encode, SIZES, seed=0, protocol=protocol)
    lines = np.split(seen[1], np.cumsum(SIZES)[:-1])
    for factor, line in enumerate(lines):
        assert GRID[line, factor].tolist() == list(range(SIZES[factor]))
        assert len(np.unique(np.delete(GRID[line], factor, axis=1), axis=0)) == 1


def test_one_factor_varied_score_takes_at_most_the_asked_images():
    counted = []

    def encode(indices):
        counted.append(len(indices))
        return GRID[indices].astype(float)

    protocol = VoteProtocol(n_train=9, n_eval=0, n_images=4, n_global=50)
    one_factor_varied_score_on_grid(encode, SIZES, seed=0, protocol=protocol)
    assert counted == [50, 36]


def test_one_factor_varied_score_of_a_table_uses_rows_that_differ_in_one_factor():
    rows = np.flatnonzero(np.random.default_rng(1).random(len(GRID)) < 0.6)
    result = one_factor_varied_score(GRID[rows] / 5.0, GRID[rows], seed=0)
    assert result.score == 1.0


def test_one_factor_varied_score_of_a_table_says_which_factor_never_varies_alone():
    factors = np.array([[0, 0], [1, 1], [2, 2]])
    with pytest.raises(ValueError, match="differ in factor 0 and in no other; got none among 3"):
        one_factor_varied_score(factors.astype(float), factors, seed=0)


def test_one_factor_varied_score_in_the_papers_way_scores_its_own_votes():
    codes = np.random.default_rng(2).normal(size=(len(GRID), 3))
    result = one_factor_varied_score_on_grid(codes.__getitem__, SIZES, seed=0, protocol=PAPER)
    assert result.score == result.table.max(axis=1).sum() / 800
