"""Mutual information between binned codes and factor classes, in nats (plug-in estimate)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from training.metrics.inputs import Floats, Ints, active_dims, as_classes, as_codes, discretize

N_BINS = 20  # as in the studies of disentanglement_lib


@dataclass(frozen=True)
class Binned:
    """Codes and factors as class numbers.

    Attributes:
        bins: (n, latent_dim), all in one bin where a dimension does not move.
        classes: (n, n_factors).
        active: The dimensions that move.
    """

    bins: Ints
    classes: Ints
    active: Ints


def binned(codes: ArrayLike, factors: ArrayLike, *, min_std: float) -> Binned:
    """Check both and bin the codes (n, latent_dim) that spread by at least `min_std`."""
    array = as_codes(codes)
    active = active_dims(array, min_std)
    return Binned(binned_active(array, active), as_classes(factors, len(array)), active)


def information_table(bins: Ints, classes: Ints) -> Floats:
    """I(bin of code j; factor k) for all pairs.

    Args:
        bins: (n, latent_dim), class numbers from 0.
        classes: (n, n_factors), class numbers from 0.

    Returns:
        (latent_dim, n_factors), nats, >= 0. Biased upwards by about (bins - 1)(classes - 1) / 2n.
    """
    pairs = [[_information(column, factor) for factor in classes.T] for column in bins.T]
    return np.array(pairs)


def chance_information(bins: Ints, classes: Ints) -> Floats:
    """What `information_table` gives on average where codes and factors know nothing of each other.

    The mean over all ways to pair the rows, which is exact on few rows too (Vinh, Epps and Bailey,
    JMLR 11, 2010, section 4).

    Args:
        bins: (n, latent_dim), class numbers from 0.
        classes: (n, n_factors), class numbers from 0.

    Returns:
        (latent_dim, n_factors), nats, >= 0.
    """
    pairs = [[_by_chance(column, factor) for factor in classes.T] for column in bins.T]
    return np.array(pairs)


def entropies(classes: Ints) -> Floats:
    """Entropy of each column of class numbers (n, columns): (columns,), nats."""
    return np.array([_entropy(np.bincount(column)) for column in classes.T])


def binned_active(codes: Floats, active: Ints) -> Ints:
    """Histogram bins (n, latent_dim); a dimension that is not `active` has one bin for all."""
    bins = np.zeros(codes.shape, dtype=np.int64)
    if len(active):
        bins[:, active] = discretize(codes[:, active], N_BINS)
    return bins


def _information(first: Ints, second: Ints) -> float:
    """H(first) + H(second) - H(first, second)."""
    joint = np.bincount(first * (second.max() + 1) + second)
    parts = _entropy(np.bincount(first)) + _entropy(np.bincount(second))
    return max(parts - _entropy(joint), 0.0)


def _by_chance(first: Ints, second: Ints) -> float:
    table = contingency_matrix(first, second, dtype=np.int64)
    return float(expected_mutual_information(table, len(first)))


def _entropy(counts: Ints) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
