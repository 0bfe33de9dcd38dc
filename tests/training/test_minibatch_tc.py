"""The estimate of beta-TCVAE: against loops, its limits, and what it does not see."""

import math

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, Normal

from training.minibatch_tc import minibatch_tc

ALL = torch.ones(2, dtype=torch.bool)


def normal(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_minibatch_tc_equals_the_formula_in_loops() -> None:
    z, mu, logvar, n_images = normal(4, 2), normal(4, 2, seed=6), normal(4, 2, seed=7), 9
    total = 0.0
    for row in z:
        q = Normal(mu, (0.5 * logvar).exp()).log_prob(row).exp()  # (batch, latent_dim)
        joint = q.prod(dim=1).sum() / (n_images * 4)
        marginals = q.sum(dim=0) / (n_images * 4)
        total += float(joint.log() - marginals.log().sum())
    found = minibatch_tc(z, mu, logvar, mask=ALL, n_images=n_images)
    assert found.item() == pytest.approx(total / 4)


def test_minibatch_tc_of_a_whole_set_is_the_total_correlation() -> None:
    """One image a posterior, so n_images = 1 up to the constant; TC = -ln(1 - c²) / 2."""
    c = 0.9
    cloud = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, c], [c, 1.0]]))
    torch.manual_seed(1)
    mu = cloud.sample((1500,))
    logvar = torch.full_like(mu, math.log(0.02))
    z = mu + 0.02**0.5 * normal(1500, 2).float()
    found = minibatch_tc(z, mu, logvar, mask=ALL, n_images=1)
    correlation = c / 1.02
    assert found.item() == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.1)


def test_minibatch_tc_does_not_change_when_a_dimension_is_scaled() -> None:
    z, mu, logvar = normal(8, 2), normal(8, 2, seed=6), normal(8, 2, seed=7)
    scale = torch.tensor([10.0, 0.1]).double()
    scaled = minibatch_tc(z * scale, mu * scale, logvar + 2 * scale.log(), mask=ALL, n_images=50)
    torch.testing.assert_close(scaled, minibatch_tc(z, mu, logvar, mask=ALL, n_images=50))


def test_minibatch_tc_sees_only_the_masked_dimensions() -> None:
    z, mu, logvar = normal(8, 3), normal(8, 3, seed=6), normal(8, 3, seed=7)
    mask = torch.tensor([True, False, True])
    found = minibatch_tc(z, mu, logvar, mask=mask, n_images=50)
    kept = [0, 2]
    expected = minibatch_tc(z[:, kept], mu[:, kept], logvar[:, kept], mask=ALL, n_images=50)
    torch.testing.assert_close(found, expected)
    assert minibatch_tc(z, mu, logvar, mask=~torch.ones(3).bool(), n_images=50).item() == 0


def test_minibatch_tc_gradient() -> None:
    z, mu, logvar = (normal(4, 2, seed=seed).requires_grad_() for seed in (1, 2, 3))
    assert torch.autograd.gradcheck(
        lambda *codes: minibatch_tc(*codes, mask=ALL, n_images=20), (z, mu, logvar)
    )
