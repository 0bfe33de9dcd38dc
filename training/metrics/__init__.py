"""Disentanglement metrics: codes and factors in, a score with its table and interval out.

Every metric is `metric(codes, factors, *, seed, …)`; those without labels take codes alone.
"""

from training.metrics.active_units import active_units, active_variance
from training.metrics.aggregate_posterior import (
    dimension_information,
    gaussian_total_correlation,
    posterior_total_correlation,
)
from training.metrics.beta_vae_score import beta_vae_score
from training.metrics.dci import DCIResult, dci
from training.metrics.explicitness import explicitness
from training.metrics.factor_vae_score import factor_vae_score, factor_vae_score_on_grid
from training.metrics.inputs import discretize
from training.metrics.irs import irs
from training.metrics.mig import mig
from training.metrics.modularity import modularity
from training.metrics.one_factor_varied_score import (
    one_factor_varied_score,
    one_factor_varied_score_on_grid,
)
from training.metrics.regressors import Regressor, boosting, forest, lasso
from training.metrics.results import MetricResult
from training.metrics.sap import sap
from training.metrics.udr import udr
from training.metrics.votes import PAPER, ROBUST, VoteProtocol, VoteResult

__all__ = [
    "PAPER",
    "ROBUST",
    "DCIResult",
    "MetricResult",
    "Regressor",
    "VoteProtocol",
    "VoteResult",
    "active_units",
    "active_variance",
    "beta_vae_score",
    "boosting",
    "dci",
    "dimension_information",
    "discretize",
    "explicitness",
    "factor_vae_score",
    "factor_vae_score_on_grid",
    "forest",
    "gaussian_total_correlation",
    "irs",
    "lasso",
    "mig",
    "modularity",
    "one_factor_varied_score",
    "one_factor_varied_score_on_grid",
    "posterior_total_correlation",
    "sap",
    "udr",
]
