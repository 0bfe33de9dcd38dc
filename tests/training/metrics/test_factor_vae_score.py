import numpy as np

from training.metrics import PAPER, VoteProtocol, factor_vae_score_on_grid

SIZES = (6, 8, 5)
GRID = np.stack(np.unravel_index(np.arange(np.prod(SIZES)), SIZES), axis=1)


def metric_one_by_hand(codes, rng, n_votes=600, n_images=20):
    """The authors' procedure written out: search the rows, vote, count the majority's errors."""
    overall = np.var(codes, axis=0)
    counts = np.zeros((codes.shape[1], len(SIZES)))
    for factor in range(len(SIZES)):
        for _ in range(n_votes // len(SIZES)):
            rows = np.flatnonzero(GRID[:, factor] == rng.integers(SIZES[factor]))
            rows = rng.permutation(rows)[:n_images]
            counts[np.argmin(np.var(codes[rows], axis=0) / overall), factor] += 1
    return counts.max(axis=1).sum() / counts.sum(), counts / counts.sum(axis=0)


def test_factor_vae_score_agrees_with_the_procedure_written_out():
    rng = np.random.default_rng(3)
    codes = GRID @ rng.normal(size=(3, 4)) + rng.normal(size=(len(GRID), 4))
    protocol = VoteProtocol(n_train=6000, n_eval=0, n_images=20, ddof=0, min_std=0)
    score, shares = metric_one_by_hand(codes, rng, n_votes=6000)
    result = factor_vae_score_on_grid(codes.__getitem__, SIZES, seed=1, protocol=protocol)
    assert abs(result.score - score) < 0.02
    np.testing.assert_allclose(result.table / 2000, shares, atol=0.04)


def test_factor_vae_score_set_shares_one_factor_and_repeats_no_image():
    seen = []

    def encode(indices):
        seen.append(indices)
        return GRID[indices].astype(float)

    factor_vae_score_on_grid(encode, SIZES, seed=0, protocol=VoteProtocol(n_train=3, n_eval=0))
    # The pools of these factors hold 40, 30 and 48 images: fewer than the 100 asked for.
    groups = np.split(seen[1], np.cumsum([40, 30]))
    for factor, group in enumerate(groups):
        assert len(np.unique(GRID[group, factor])) == 1
        assert len(np.unique(group)) == len(group) == np.prod(SIZES) // SIZES[factor]


def test_factor_vae_score_in_the_papers_way_scores_its_own_votes():
    codes = np.random.default_rng(2).normal(size=(len(GRID), 3))
    result = factor_vae_score_on_grid(codes.__getitem__, SIZES, seed=0, protocol=PAPER)
    assert result.table.sum() == 800
    assert result.score == result.table.max(axis=1).sum() / 800
