"""Metric I, the FactorVAE score (arXiv 1802.05983, section 4; arXiv 1902.01568, section 5).

A set of images shares one random value of factor k. Its vote goes to the dimension that moves least
within the set: argmin_j Var_set(mu_j) / Var_all(mu_j).
"""

import numpy as np

from training.metrics.inputs import Floats, Ints
from training.metrics.samplers import FactorSampler
from training.metrics.votes import VoteMetric


def _draw(sampler: FactorSampler, factor: int, n: int, rng: np.random.Generator) -> Ints:
    return sampler.fixed(factor, n, rng)


def _pick(ratios: Floats) -> Ints:
    return np.asarray(ratios.argmin(axis=1))


factor_vae_score = VoteMetric(draw=_draw, pick=_pick)
factor_vae_score_on_grid = factor_vae_score.on_grid
