"""Disentanglement metrics: codes and factors in, a score with its table and interval out."""

from training.metrics.factor_vae_score import factor_vae_score, factor_vae_score_on_grid
from training.metrics.inputs import discretize
from training.metrics.one_factor_varied_score import (
    one_factor_varied_score,
    one_factor_varied_score_on_grid,
)
from training.metrics.results import MetricResult
from training.metrics.votes import PAPER, ROBUST, VoteProtocol, VoteResult

__all__ = [
    "PAPER",
    "ROBUST",
    "MetricResult",
    "VoteProtocol",
    "VoteResult",
    "discretize",
    "factor_vae_score",
    "factor_vae_score_on_grid",
    "one_factor_varied_score",
    "one_factor_varied_score_on_grid",
]
