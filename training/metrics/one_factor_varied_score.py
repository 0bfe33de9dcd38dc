"""Metric II, one factor varied (arXiv 1902.01568, section 5), also called z-max variance.

A set of images shares a random value of every factor but k, so a grid has K_k images for it. Its
vote goes to the dimension that moves most within the set: argmax_j Var_set(mu_j) / Var_all(mu_j).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from training.metrics.inputs import Floats, Ints, as_classes, as_codes
from training.metrics.samplers import FactorSampler, GridSampler, TableSampler
from training.metrics.votes import (
    ROBUST,
    Ballot,
    EncodeIndices,
    VoteProtocol,
    VoteResult,
    run_votes,
)


def _draw(sampler: FactorSampler, factor: int, n: int, rng: np.random.Generator) -> Ints:
    return sampler.varied(factor, n, rng)


def _pick(ratios: Floats) -> Ints:
    return np.asarray(ratios.argmax(axis=1))


_BALLOT = Ballot(draw=_draw, pick=_pick)


def one_factor_varied_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int | np.random.Generator,
    protocol: VoteProtocol = ROBUST,
    dims: Sequence[int] | None = None,
) -> VoteResult:
    """Metric II of a labelled table.

    Args:
        codes: (n, latent_dim).
        factors: (n, n_factors) classes. Factors with one value cast no vote.
        seed: Seed, or a generator to go on with.
        protocol: `ROBUST` (held-out votes, dead dimensions masked) or `PAPER`.
        dims: Dimensions that may get votes, such as the relevant ones; default by spread.

    Returns:
        Accuracy in [0, 1]: 1 for perfect codes, about 1/n_factors by chance, 0 if all are dead.

    Raises:
        ValueError: If for some factor no two rows differ in it alone.
    """
    table = as_codes(codes)
    sampler = TableSampler(as_classes(factors, len(table)))
    return run_votes(_BALLOT, sampler, table.__getitem__, seed=seed, protocol=protocol, dims=dims)


def one_factor_varied_score_on_grid(
    encode_indices: EncodeIndices,
    factor_sizes: Sequence[int],
    *,
    seed: int | np.random.Generator,
    protocol: VoteProtocol = ROBUST,
    dims: Sequence[int] | None = None,
) -> VoteResult:
    """Metric II of an encoder on a full grid of factor values.

    Args:
        encode_indices: Image numbers (n,), row-major over the grid, to codes (n, latent_dim).
        factor_sizes: Number of values of each factor.
        seed: Seed, or a generator to go on with.
        protocol: `ROBUST` or `PAPER`.
        dims: Dimensions that may get votes; default by spread.

    Returns:
        As `one_factor_varied_score`.
    """
    sampler = GridSampler(factor_sizes)
    return run_votes(_BALLOT, sampler, encode_indices, seed=seed, protocol=protocol, dims=dims)
