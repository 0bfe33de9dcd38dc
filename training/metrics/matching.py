"""Which dimensions of several runs are the same one, up to order and sign.

Runs that found the same factors have dimensions that rise and fall together over the same images.
Pairs of runs are matched by the Hungarian method on absolute correlations; the matches of all pairs
are joined into clusters, strongest first, with at most one dimension of each run in a cluster.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from training.metrics.inputs import Floats, Ints, as_codes, z_scored

# Two axes turned by 45 degrees still correlate by 0.71 with what they are a mixture of.
MIN_CORRELATION = 0.75
Similarity = Literal["spearman", "pearson"]
Member = tuple[int, int]  # (run, row of its dimensions)


@dataclass(frozen=True, kw_only=True)
class Matching:
    """When two dimensions are the same one.

    Attributes:
        similarity: Correlation of the ranks, or of the values.
        min_correlation: Mean absolute correlation below which two clusters are not joined.
    """

    similarity: Similarity = "spearman"
    min_correlation: float = MIN_CORRELATION


DEFAULT_MATCHING = Matching()


@dataclass(frozen=True)
class Cluster:
    """One dimension as several runs have it.

    Attributes:
        members: (run, dimension), at most one a run, in the order of the runs.
        signs: 1 or -1 for each member: whether it grows in the direction of the first one.
        correlation: Mean absolute correlation of all pairs of members; NaN for a single one.
    """

    members: tuple[Member, ...]
    signs: tuple[int, ...]
    correlation: float


def correlations(first: ArrayLike, second: ArrayLike, *, similarity: Similarity) -> Floats:
    """Correlation of every dimension of one run with every one of another.

    Args:
        first: (n, a), codes of n images.
        second: (n, b), codes of the same images.
        similarity: Of the ranks, or of the values.

    Returns:
        (a, b), in [-1, 1]; 0 for a dimension that does not move.
    """
    tables = [np.asarray(codes, dtype=np.float64) for codes in (first, second)]
    if similarity == "spearman":
        tables = [rankdata(table, axis=0) for table in tables]
    left, right = (z_scored(table) for table in tables)
    return np.asarray(np.clip(left.T @ right / len(left), -1.0, 1.0))


def match(correlation: Floats) -> list[tuple[int, int]]:
    """The one-to-one pairs (row, column) with the largest sum of absolute values."""
    rows, columns = linear_sum_assignment(np.abs(correlation), maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def agreement(correlation: Floats) -> float:
    """Sum of the matched absolute correlations over the larger number of dimensions, in [0, 1]."""
    larger = max(correlation.shape)
    if larger == 0:
        return 1.0  # Both runs have nothing, and agree on it.
    return float(sum(abs(correlation[pair]) for pair in match(correlation)) / larger)


def cluster_dims(
    codes_by_run: Sequence[ArrayLike], *, matching: Matching = DEFAULT_MATCHING
) -> list[Cluster]:
    """Join the dimensions of all runs.

    Args:
        codes_by_run: One (n, dims) table a run, of the same n images in the same order; a run may
            have no dimensions.
        matching: When two dimensions are the same one.

    Returns:
        Every dimension in one cluster, those of most runs first, then the closest.
    """
    runs = [_checked(codes) for codes in codes_by_run]
    starts = np.cumsum([0, *(run.shape[1] for run in runs)])
    owners = np.repeat(np.arange(len(runs)), np.diff(starts))
    joined = np.concatenate(runs, axis=1)
    table = correlations(joined, joined, similarity=matching.similarity)  # (all dims, all dims)
    groups = [{number} for number in range(len(owners))]
    for first, second in _strongest_matches(table, starts):
        groups = _joined(
            groups, first, second, table=table, owners=owners, least=matching.min_correlation
        )
    clusters = [_cluster(sorted(group), table, owners, starts) for group in groups]
    return sorted(clusters, key=lambda one: (-len(one.members), -_known(one.correlation)))


def _checked(codes: ArrayLike) -> Floats:
    table = np.asarray(codes, dtype=np.float64)
    return table if table.ndim == 2 and table.shape[1] == 0 else as_codes(table)


def _strongest_matches(table: Floats, starts: Ints) -> list[tuple[int, int]]:
    """Matched pairs of columns of all pairs of runs, by falling absolute correlation."""
    pairs = []
    blocks = list(itertools.pairwise(int(start) for start in starts))
    for (a, a_end), (b, b_end) in itertools.combinations(blocks, 2):
        pairs += [(a + row, b + column) for row, column in match(table[a:a_end, b:b_end])]
    return sorted(pairs, key=lambda pair: -abs(table[pair]))


def _joined(
    groups: list[set[int]],
    first: int,
    second: int,
    *,
    table: Floats,
    owners: Ints,
    least: float,
) -> list[set[int]]:
    """The groups of two columns made one, unless a run would be in it twice or they differ."""
    left, right = (next(g for g in groups if column in g) for column in (first, second))
    if left is right or {owners[i] for i in left} & {owners[i] for i in right}:
        return groups
    if np.abs(table[np.ix_(sorted(left), sorted(right))]).mean() < least:
        return groups
    return [*(group for group in groups if group is not left and group is not right), left | right]


def _cluster(columns: list[int], table: Floats, owners: Ints, starts: Ints) -> Cluster:
    members = tuple((int(owners[c]), int(c - starts[owners[c]])) for c in columns)
    inner = table[np.ix_(columns, columns)]
    anchor = int(np.abs(inner).sum(axis=0).argmax())  # The one that all others are closest to.
    signs = np.where(inner[anchor] < 0, -1, 1)
    pairs = np.abs(inner[np.triu_indices(len(columns), 1)])
    return Cluster(
        members=members,
        signs=tuple(int(sign * signs[0]) for sign in signs),
        correlation=float(pairs.mean()) if len(pairs) else float("nan"),
    )


def _known(correlation: float) -> float:
    return 0.0 if np.isnan(correlation) else correlation
