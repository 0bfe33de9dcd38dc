import numpy as np
import pytest
from scipy.stats import spearmanr

from training.metrics.matching import Matching, agreement, cluster_dims, correlations, match


@pytest.fixture
def latents():
    return np.random.default_rng(1).normal(size=(500, 3))


def rotated(latents, degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([latents[:, :2] @ turn.T, latents[:, 2:]], axis=1)


def members(clusters):
    return [cluster.members for cluster in clusters]


def test_rank_correlations_agree_with_scipy(latents):
    other = np.exp(latents[:, [2, 0]]) + 0.5 * latents[:, [1, 1]]
    found = correlations(latents, other, similarity="spearman")
    expected = spearmanr(latents, other).statistic[:3, 3:]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_correlations_agree_with_numpy_and_are_zero_for_a_constant(latents):
    other = np.column_stack([latents[:, 0] - latents[:, 1], np.ones(500)])
    found = correlations(latents, other, similarity="pearson")
    expected = [np.corrcoef(latents[:, k], other[:, 0])[0, 1] for k in range(3)]
    np.testing.assert_allclose(found[:, 0], expected)
    np.testing.assert_array_equal(found[:, 1], 0.0)


def test_match_takes_the_largest_sum_and_not_the_largest_pair():
    table = np.array([[0.9, -0.8], [0.8, 0.1]])
    assert match(table) == [(0, 1), (1, 0)]
    assert agreement(table) == pytest.approx(0.8)


def test_agreement_counts_a_dimension_without_partner_as_zero(latents):
    table = correlations(latents, latents[:, [1, 0]], similarity="spearman")
    assert agreement(table) == pytest.approx(2 / 3)
    assert agreement(np.zeros((0, 0))) == 1.0
    assert agreement(np.zeros((0, 2))) == 0.0


def test_clusters_undo_order_sign_and_monotone_scale(latents):
    second = np.column_stack([-latents[:, 2], np.exp(latents[:, 0]), latents[:, 1]])
    third = np.column_stack([-latents[:, 1], latents[:, 2] ** 3, -latents[:, 0]])
    clusters = cluster_dims([latents, second, third])
    assert sorted(members(clusters)) == [
        ((0, 0), (1, 1), (2, 2)),
        ((0, 1), (1, 2), (2, 0)),
        ((0, 2), (1, 0), (2, 1)),
    ]
    signs = {cluster.members[0][1]: cluster.signs for cluster in clusters}
    assert signs == {0: (1, 1, -1), 1: (1, 1, -1), 2: (1, -1, 1)}
    assert [cluster.correlation for cluster in clusters] == pytest.approx([1.0] * 3)


def test_clusters_keep_turned_axes_apart(latents):
    clusters = cluster_dims([latents, rotated(latents, 45)])
    assert members(clusters) == [((0, 2), (1, 2)), ((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),)]
    assert np.isnan(clusters[-1].correlation)
    looser = cluster_dims([latents, rotated(latents, 45)], matching=Matching(min_correlation=0.5))
    assert [len(cluster.members) for cluster in looser] == [2, 2, 2]


def test_cluster_never_holds_two_dimensions_of_a_run(latents):
    doubled = np.column_stack([latents[:, 0], latents[:, 0], latents[:, 1]])
    clusters = cluster_dims([latents, doubled])
    for cluster in clusters:
        runs = [run for run, _ in cluster.members]
        assert len(runs) == len(set(runs))
    assert sum(len(cluster.members) for cluster in clusters) == 6


def test_chain_of_half_likes_is_not_joined(latents):
    """Each step of 35 degrees correlates by 0.82, its ends at 70 degrees by 0.34."""
    steps = [rotated(latents, degrees)[:, :1] for degrees in (0, 35, 70)]
    clusters = cluster_dims(steps)
    assert sorted(len(cluster.members) for cluster in clusters) == [1, 2]


def test_run_without_dimensions_is_in_no_cluster(latents):
    clusters = cluster_dims([latents, np.zeros((500, 0))])
    assert sorted(members(clusters)) == [((0, 0),), ((0, 1),), ((0, 2),)]
