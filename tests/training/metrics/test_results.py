import numpy as np
import pytest
from scipy import stats

from training.metrics.results import UNBOUNDED, bootstrap_rows, centred_interval


def test_centred_interval_is_the_score_and_students_t_spreads():
    replicates = np.array([0.4, 0.5, 0.6, 0.7])
    half = stats.t.ppf(0.975, 3) * replicates.std(ddof=1) / 10
    low, high = centred_interval(0.3, 0.5 + (replicates - 0.5) / 10)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half))


def test_centred_interval_is_cut_to_the_scale_of_the_score():
    assert centred_interval(0.99, [0.5, 1.0]) == (0.0, 1.0)
    assert centred_interval(1.0, [0.0, 2.0], bounds=(0.0, 3.0)) == (0.0, 3.0)


def test_centred_interval_needs_two_replicates():
    assert centred_interval(0.5, [0.5]) is None


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_centred_interval_needs_finite_replicates(value):
    assert centred_interval(0.5, [0.4, 0.5, value]) is None


def test_bootstrap_rows_gives_the_standard_error_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400) + 10
    score = values.mean()
    low, high = bootstrap_rows(
        lambda rows: values[rows].mean(),
        400,
        score=score,
        n_bootstrap=400,
        rng=rng,
        bounds=UNBOUNDED,
    )
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)


def test_bootstrap_rows_switched_off_gives_none():
    rng = np.random.default_rng(0)
    assert bootstrap_rows(lambda rows: 0.0, 5, score=0.0, n_bootstrap=0, rng=rng) is None
