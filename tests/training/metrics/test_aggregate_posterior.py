import numpy as np
import pytest

from training.metrics import aggregate_posterior
from training.metrics.aggregate_posterior import (
    dimension_information,
    gaussian_total_correlation,
    posterior_total_correlation,
)


def gaussian_posteriors(correlation, noise, n=1000, seed=0):
    """mu ~ N(0, C), posterior variance `noise`: the aggregate posterior is N(0, C + noise I)."""
    rng = np.random.default_rng(seed)
    covariance = np.array([[1, correlation], [correlation, 1]])
    mu = rng.multivariate_normal(np.zeros(2), covariance, size=n)
    return mu, np.full_like(mu, np.log(noise))


def test_dimension_information_agrees_with_the_gaussian_channel():
    mu, logvar = gaussian_posteriors(0.0, noise=0.5)
    expected = 0.5 * np.log(1 + 1 / 0.5)
    assert dimension_information(mu, logvar, seed=0) == pytest.approx([expected] * 2, abs=0.07)


def test_dimension_information_of_a_prior_posterior_is_zero():
    zeros = np.zeros((500, 2))
    assert dimension_information(zeros, zeros, seed=0) == pytest.approx([0, 0], abs=1e-12)


def test_dimension_information_cannot_pass_the_logarithm_of_the_sample():
    mu = np.arange(100.0)[:, None]
    found = dimension_information(mu, np.full_like(mu, -20), seed=0)
    assert found == pytest.approx([np.log(100)])


def test_dimension_information_agrees_with_a_sum_over_all_posteriors(monkeypatch):
    monkeypatch.setattr(aggregate_posterior, "_CHUNK", 7)
    rng = np.random.default_rng(3)
    mu, logvar = rng.normal(size=(30, 2)), rng.normal(size=(30, 2)) - 1
    noise = np.random.default_rng(5).normal(size=mu.shape)
    z = mu + np.exp(logvar / 2) * noise
    expected = np.zeros(2)
    for j in range(2):
        for i in range(30):
            density = np.exp(-((z[i, j] - mu[:, j]) ** 2) / (2 * np.exp(logvar[:, j])))
            density /= np.sqrt(2 * np.pi * np.exp(logvar[:, j]))
            expected[j] += (np.log(density[i]) - np.log(density.mean())) / 30
    assert dimension_information(mu, logvar, seed=np.random.default_rng(5)) == pytest.approx(
        expected
    )


def test_posterior_total_correlation_agrees_with_the_gaussian_closed_form():
    mu, logvar = gaussian_posteriors(0.8, noise=0.5)
    expected = -0.5 * np.log(1 - (0.8 / 1.5) ** 2)
    result = posterior_total_correlation(mu, logvar, seed=0)
    assert result.score == pytest.approx(expected, abs=0.05)
    assert result.ci95[0] < expected < result.ci95[1]
    assert not result.details["is_upper_bound"]


def test_posterior_total_correlation_of_independent_dims_is_near_zero():
    mu, logvar = gaussian_posteriors(0.0, noise=0.5)
    assert abs(posterior_total_correlation(mu, logvar, seed=0).score) < 0.05


def test_posterior_total_correlation_interval_holds_the_truth_of_independent_dims():
    """By more than the 33 % of an interval that knows nothing of the bias."""
    held, logvar = 0, np.full((300, 4), np.log(0.5))
    for seed in range(40):
        mu = np.random.default_rng(seed).normal(size=(300, 4))
        result = posterior_total_correlation(mu, logvar, seed=seed)
        assert not result.details["is_upper_bound"]
        held += result.ci95[0] <= 0 <= result.ci95[1]
    assert held >= 36


def test_posterior_total_correlation_of_dependent_dims_excludes_zero():
    mu, logvar = gaussian_posteriors(0.8, noise=0.5, n=300)
    result = posterior_total_correlation(mu, logvar, seed=0)
    assert result.ci95[0] > 0
    assert abs(result.details["bias"]) < 0.05


def test_posterior_total_correlation_of_codes_that_tell_more_than_the_sample_is_a_bound():
    """Ten independent dimensions of 2.5 nats each: the truth is 0, the joint stops at ln n."""
    mu = np.random.default_rng(0).normal(size=(500, 10))
    result = posterior_total_correlation(mu, np.full(mu.shape, -5.0), seed=0)
    assert result.score > 10
    assert result.details["is_upper_bound"]
    assert result.ci95[0] == 0
    excess = result.table.sum() - result.details["largest_information"]
    assert result.score == pytest.approx(excess, rel=0.01)


def test_posterior_total_correlation_of_dead_codes_is_zero():
    zeros = np.zeros((10, 3))
    assert posterior_total_correlation(zeros, zeros, seed=0).score == 0.0


def test_posteriors_of_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"same shape; got \(4, 2\) and \(4, 3\)"):
        dimension_information(np.zeros((4, 2)), np.zeros((4, 3)), seed=0)


def test_gaussian_total_correlation_agrees_with_the_determinant():
    codes = np.random.default_rng(0).normal(size=(400, 3)) @ np.array(
        [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 2]]
    )
    covariance = np.cov(codes, rowvar=False)
    expected = 0.5 * np.log(np.prod(np.diag(covariance)) / np.linalg.det(covariance))
    result = gaussian_total_correlation(codes, seed=0)
    assert result.score == pytest.approx(expected)
    assert result.ci95[0] < expected < result.ci95[1]
    assert result.table == pytest.approx(np.corrcoef(codes, rowvar=False))


def test_gaussian_total_correlation_of_duplicates_is_infinite():
    column = np.random.default_rng(0).normal(size=(50, 1))
    result = gaussian_total_correlation(np.hstack([column, column]), seed=0)
    assert result.score == float("inf")
    assert result.ci95 is None


@pytest.mark.parametrize("n", [3, 8, 12])
def test_gaussian_total_correlation_of_few_rows_has_no_interval(n):
    result = gaussian_total_correlation(np.random.default_rng(1).normal(size=(n, 5)), seed=0)
    assert result.ci95 is None


def test_gaussian_total_correlation_leaves_dead_dimensions_out():
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.normal(size=50), np.zeros(50), 1e-4 * rng.normal(size=50)])
    assert gaussian_total_correlation(codes, seed=0).score == 0.0
    assert gaussian_total_correlation(np.zeros((5, 2)), seed=0).score == 0.0
