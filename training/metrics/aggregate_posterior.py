"""Figures of the aggregate posterior q(z) = mean_x q(z | x), estimated from the encoder alone.

q is a mixture of known Gaussians, so its density needs no discriminator: each sample z is scored
under every posterior of a batch (the minibatch estimate of arXiv 1802.04942, section 3, with the
whole set as the batch). With n images no estimate of a mutual information can pass ln n.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.inputs import MIN_STD, Floats, active_dims, as_codes, make_rng
from training.metrics.results import (
    UNBOUNDED,
    Interval,
    MetricResult,
    bootstrap_rows,
    centred_interval,
)

MAX_IMAGES = 2000
MARGIN = 3.0  # nats below ln n within which an estimate of the joint information is no longer sure
_CHUNK = 200


def dimension_information(
    mu: ArrayLike, logvar: ArrayLike, *, seed: int | np.random.Generator
) -> Floats:
    """I_q(x; z_j) = E[ln q(z_j | x) - ln q(z_j)] of each dimension.

    Args:
        mu: (n, latent_dim); at most `MAX_IMAGES` rows are used, drawn at random.
        logvar: (n, latent_dim).
        seed: Seed, or a generator to go on with.

    Returns:
        (latent_dim,), nats, in [0, ln n]; an estimate below 0 is noise and given as 0.
    """
    conditional, marginal, _ = _log_densities(mu, logvar, make_rng(seed))
    return np.asarray(np.maximum((conditional - marginal).mean(axis=0), 0.0))


def posterior_total_correlation(
    mu: ArrayLike, logvar: ArrayLike, *, seed: int | np.random.Generator
) -> MetricResult:
    """TC = E_q(z)[ln q(z) - sum_j ln q(z_j)], without a density-ratio network.

    Args:
        mu: (n, latent_dim); at most `MAX_IMAGES` rows are used, drawn at random. Dimensions whose
            posterior mean does not move are left out.
        logvar: (n, latent_dim).
        seed: Seed, or a generator to go on with.

    Returns:
        Score in nats, biased upwards, since the joint density is known from n points only.
        `details["bias"]` is the same estimate of codes whose truth is 0: each dimension's rows
        shuffled. The interval reaches down by it. And no code seems to tell more than ln n nats
        about its image: where one tells more, the estimate is too high by about the excess.
        `details["is_upper_bound"]` says so, within `MARGIN` of that limit, and the interval then
        begins at 0. `table` (latent_dim, 1) is the information of each dimension.
    """
    rng = make_rng(seed)
    active = active_dims(as_codes(mu), MIN_STD)
    table = np.zeros((as_codes(mu).shape[1], 1))
    if len(active) == 0:
        return MetricResult(score=0.0, table=table, ci95=(0.0, 0.0))
    kept, kept_logvar = as_codes(mu)[:, active], as_codes(logvar)[:, active]
    conditional, marginal, joint = _log_densities(kept, kept_logvar, rng)
    table[active, 0] = (conditional - marginal).mean(axis=0)
    score, interval = _mean_excess(joint, marginal, rng)
    information, largest = float((conditional.sum(axis=1) - joint).mean()), np.log(len(joint))
    is_upper_bound = bool(information > largest - MARGIN)
    order = rng.permuted(np.tile(np.arange(len(kept))[:, None], len(active)), axis=0)
    mixed, mixed_logvar = (np.take_along_axis(part, order, axis=0) for part in (kept, kept_logvar))
    _, marginal, joint = _log_densities(mixed, mixed_logvar, rng)
    bias, bias_interval = _mean_excess(joint, marginal, rng)
    # Its upper end, as the one shuffle is as noisy as the estimate.
    low = min(0.0, interval[0]) if is_upper_bound else interval[0] - max(bias_interval[1], 0.0)
    return MetricResult(
        score=score,
        table=table,
        ci95=(low, interval[1]),
        details={
            "bias": bias,
            "joint_information": information,
            "largest_information": float(largest),
            "is_upper_bound": is_upper_bound,
        },
    )


def _mean_excess(
    joint: Floats, marginal: Floats, rng: np.random.Generator
) -> tuple[float, Interval]:
    """Mean of ln q(z) - sum_j ln q(z_j) over the samples, with its interval."""
    samples = joint - marginal.sum(axis=1)  # (n,)
    means = [samples[rng.integers(len(samples), size=len(samples))].mean() for _ in range(200)]
    score = float(samples.mean())
    interval = centred_interval(score, means, bounds=UNBOUNDED)
    assert interval is not None
    return score, interval


def gaussian_total_correlation(
    codes: ArrayLike, *, seed: int | np.random.Generator, n_bootstrap: int = 100
) -> MetricResult:
    """TC of the Gaussian with the codes' covariance: (sum_j ln S_jj - ln det S) / 2.

    The unsupervised score of arXiv 1811.12359. It sees linear dependence only.

    Args:
        codes: (n, latent_dim). Dimensions that do not move are left out.
        seed: Of the resampling behind the interval.
        n_bootstrap: Resampled row sets; 0 for no interval.

    Returns:
        Score in nats, infinite for duplicate dimensions; `table` is the correlation matrix
        (latent_dim, latent_dim), 0 for dimensions left out. No interval where a resampled set has
        fewer different rows than dimensions, as its score is infinite.
    """
    array = as_codes(codes)
    active = active_dims(array)
    kept = array[:, active]
    score = _gaussian_tc(kept)
    table = np.zeros((array.shape[1], array.shape[1]))
    if len(active):
        table[np.ix_(active, active)] = np.atleast_2d(np.corrcoef(kept, rowvar=False))
    interval = None
    if np.isfinite(score):
        interval = bootstrap_rows(
            lambda rows: _gaussian_tc(kept[rows]),
            len(kept),
            score=score,
            n_bootstrap=n_bootstrap,
            rng=make_rng(seed),
            bounds=(0.0, np.inf),
        )
    return MetricResult(score=score, table=table, ci95=interval)


def _gaussian_tc(codes: Floats) -> float:
    """Through the correlation matrix, whose logarithms are small: -ln det R / 2."""
    if codes.shape[1] < 2:
        return 0.0
    if (np.ptp(codes, axis=0) == 0).any():  # a resampled set of one row over and over
        return float("inf")
    sign, log_det = np.linalg.slogdet(np.corrcoef(codes, rowvar=False))
    # Duplicate columns leave a determinant of rounding errors.
    if sign <= 0 or log_det < -30 * codes.shape[1]:
        return float("inf")
    return float(max(-0.5 * log_det, 0.0))


def _log_densities(
    mu: ArrayLike, logvar: ArrayLike, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """One sample z of each image's posterior, and ln q(z_j | x), ln q(z_j), ln q(z)."""
    means, log_variances = as_codes(mu), as_codes(logvar)
    if means.shape != log_variances.shape:
        raise ValueError(
            f"`mu` and `logvar` must have the same shape; got {means.shape} and "
            f"{log_variances.shape}."
        )
    if len(means) > MAX_IMAGES:
        rows = rng.choice(len(means), size=MAX_IMAGES, replace=False)
        means, log_variances = means[rows], log_variances[rows]
    z = means + np.exp(0.5 * log_variances) * rng.normal(size=means.shape)  # (n, latent_dim)
    conditional = _log_normal(z, means, log_variances)  # (n, latent_dim)
    marginals, joints = [], []
    for start in range(0, len(z), _CHUNK):
        chunk = z[start : start + _CHUNK, None, :]  # (chunk, 1, latent_dim)
        densities = _log_normal(chunk, means, log_variances)  # (chunk, n, latent_dim)
        marginals.append(_log_sum_exp(densities))
        joints.append(_log_sum_exp(densities.sum(axis=2)))
    log_n = np.log(len(z))
    return conditional, np.concatenate(marginals) - log_n, np.concatenate(joints) - log_n


def _log_normal(z: Floats, mu: Floats, logvar: Floats) -> Floats:
    return np.asarray(-0.5 * (np.log(2 * np.pi) + logvar + np.square(z - mu) / np.exp(logvar)))


def _log_sum_exp(values: Floats) -> Floats:
    """ln sum_i exp(values) over axis 1; scipy's checks for infinities cost as much again."""
    largest = values.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(values - largest).sum(axis=1)) + largest[:, 0])
