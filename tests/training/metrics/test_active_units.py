import numpy as np
import pytest

from training.metrics.active_units import active_units, active_variance


def test_active_variance_is_the_population_variance():
    mu = np.random.default_rng(0).normal(size=(50, 3))
    expected = [np.mean((column - column.mean()) ** 2) for column in mu.T]
    assert active_variance(mu) == pytest.approx(expected)


def test_active_units_counts_dimensions_that_move():
    rng = np.random.default_rng(1)
    mu = np.column_stack([rng.normal(size=500), 0.05 * rng.normal(size=500), np.zeros(500)])
    result = active_units(mu, seed=0)
    assert result.score == 1.0
    assert result.ci95 == (1.0, 1.0)
    assert result.table.shape == (3, 1)


def test_active_units_interval_is_wide_at_the_threshold():
    mu = np.random.default_rng(2).normal(size=(200, 4)) * [1, 1, 0.1, 0.1]
    result = active_units(mu, seed=0)
    assert 0 <= result.ci95[0] < result.score < result.ci95[1] <= 4
