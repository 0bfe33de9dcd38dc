"""Metric II, one factor varied (arXiv 1902.01568, section 5), also called z-max variance.

A set of images shares a random value of every factor but k, so a grid has K_k images for it. Its
vote goes to the dimension that moves most within the set: argmax_j Var_set(mu_j) / Var_all(mu_j).
"""

import numpy as np

from training.metrics.inputs import Floats, Ints
from training.metrics.samplers import FactorSampler
from training.metrics.votes import VoteMetric


def _draw(sampler: FactorSampler, factor: int, n: int, rng: np.random.Generator) -> Ints:
    return sampler.varied(factor, n, rng)


def _pick(ratios: Floats) -> Ints:
    return np.asarray(ratios.argmax(axis=1))


one_factor_varied_score = VoteMetric(draw=_draw, pick=_pick)
one_factor_varied_score_on_grid = one_factor_varied_score.on_grid
