"""A tiny RF-VAE on linear-Gaussian rows against the closed form of probabilistic PCA.

With rows x ~ N(0, sum_i w_i w_i' + s² I), orthogonal w_i, and the KL weight b of a relevant
dimension, the optimum of the objective is the linear VAE along w_i with the posterior variance
b s² / (|w_i|² + s²) and the KL 0.5 ln((|w_i|² + s²) / (b s²)); at b = 1 its ELBO is the logarithm
of the density (arXiv 1911.02469, section 4).
"""

import math

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Generator
from torch.distributions import MultivariateNormal

from training.checkpoint import load_model
from training.config_file import parse_config
from training.data.linear_gaussian import LENGTHS, NOISE
from training.encoding import encode_with_elbo
from training.objective import elbo, kl_per_dim, reparameterize
from training.report import report_run
from training.run_images import open_run_images
from training.runs import start_run

STEPS, LATENT_DIM = 1500, 6
CONFIG = {
    "data": {"name": "linear-gaussian"},
    "model": {"latent_dim": LATENT_DIM, "hidden_units": 32, "initialization": "kaiming"},
    "objective": {
        "likelihood": "gaussian",
        "likelihood_scale": NOISE,
        "kl_weight_min": 1.0,
        "kl_weight_max": 4.0,
        "tc_weight": 2.0,
        "sparsity_weight": 3.0,  # with 4 - 1: a dimension needs one nat
        "entropy_weight": [[500, 0.0], [1000, 0.5]],
    },
    "relevance": {"learning_rate": 0.02, "frozen_steps": 375},
    "optimizer": {
        "learning_rate": [[750, 5e-3], [STEPS, 1e-4]],
        "rotation_learning_rate": [[750, 1e-2], [STEPS, 1e-4]],
    },
    "discriminator": {
        "hidden_units": 32,
        "hidden_layers": 2,
        "learning_rate": [[750, 3e-3], [STEPS, 1e-4]],
        "history": 4,
    },
    "run": {"steps": STEPS, "batch_size": 128, "threads": 1, "device": "cpu", "seed": 3},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Trained in some fifteen seconds, and reported; read it, do not change it."""
    out = tmp_path_factory.mktemp("linear") / "run"
    start_run(parse_config(CONFIG, origin="test"), out, console=Console(quiet=True))
    return out


@pytest.fixture(scope="module")
def report(run_dir):
    return report_run(run_dir, console=Console(quiet=True))


@pytest.fixture(scope="module")
def followed(run_dir, report):
    """The relevant dimension that follows each factor, and all codes."""
    run = load_model(run_dir)
    source = open_run_images(run)
    indices = torch.arange(4000)
    encoded = encode_with_elbo(run.vae, source, indices)
    factors = source.factors.values_at(indices).numpy()
    table = np.corrcoef(encoded.mu.numpy().T, factors.T)[:LATENT_DIM, LATENT_DIM:]
    return np.abs(table).argmax(axis=0), np.abs(table), encoded


def test_report_finds_as_many_relevant_dimensions_as_there_are_factors(report):
    assert report["n_relevant"] == len(LENGTHS)
    unanimous = [set(row["votes"].values()) == {True} for row in report["dims"]]
    assert unanimous == [row["relevant"] for row in report["dims"]]
    nuisances = [row for row in report["dims"] if not row["relevant"]]
    assert max(row["relevance"] for row in nuisances) < 0.05
    assert max(row["mean_kl"] for row in nuisances) < 0.1


def test_each_factor_is_followed_by_one_relevant_dimension(report, followed):
    dims, table, _ = followed
    assert sorted(dims) == sorted(report["relevant_dims"])
    assert table[dims, range(3)] == pytest.approx([1, 1, 1], abs=0.03)


def test_kl_and_information_are_those_of_probabilistic_pca(report, followed):
    rows = [report["dims"][dim] for dim in followed[0]]
    nats = [0.5 * math.log(1 + (length / NOISE) ** 2) for length in LENGTHS]
    assert [row["mean_kl"] for row in rows] == pytest.approx(nats, abs=0.12)
    assert [row["mutual_information"] for row in rows] == pytest.approx(nats, abs=0.15)


def test_posterior_variances_are_those_of_probabilistic_pca(followed):
    dims, _, encoded = followed
    expected = [NOISE**2 / (length**2 + NOISE**2) for length in LENGTHS]
    found = encoded.logvar[:, dims].mean(dim=0).exp().tolist()
    assert found == pytest.approx(expected, rel=0.3)
    spread = encoded.mu[:, dims].var(dim=0).tolist()
    assert spread == pytest.approx([1 - variance for variance in expected], rel=0.3)


def test_elbo_comes_close_to_the_logarithm_of_the_density_from_below(run_dir):
    run = load_model(run_dir)
    source = open_run_images(run)
    rows = source.images(torch.arange(4000))
    mu, logvar = run.vae.encode(rows)
    z = reparameterize(mu, logvar, eps=torch.randn(mu.shape, generator=Generator().manual_seed(0)))
    loss = run.vae.likelihood.reconstruction_loss(run.vae.decode_logits(z), rows)
    bound = elbo(loss, kl_per_dim(mu, logvar)).mean()
    everything = source.images(torch.arange(source.n_images)).double()
    covariance = _model_covariance(everything)
    density = MultivariateNormal(torch.zeros(16).double(), covariance).log_prob(rows.double())
    # The reconstruction term leaves out ln(2 pi) / 2 a column.
    exact = float(density.mean()) + 8 * math.log(2 * math.pi)
    assert exact - 1.0 < float(bound) < exact + 0.05


def _model_covariance(rows):
    """W W' + s² I with W fitted by probabilistic PCA for the known noise."""
    values, axes = torch.linalg.eigh(torch.cov(rows.T))
    kept = torch.where(values > 2 * NOISE**2, values, NOISE**2)
    assert int((kept > NOISE**2).sum()) == len(LENGTHS)
    return axes @ torch.diag(kept) @ axes.T
