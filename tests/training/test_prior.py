"""The priors of Bayes-Factor VAE: by hand, against torch.distributions, limits and gradients."""

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Gamma, Normal, kl_divergence

from training import prior
from training.networks import VAE
from training.objective import kl_per_dim


def normal(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_kl_to_variance_is_that_of_torch() -> None:
    mu, logvar, prior_logvar = normal(6, 4), normal(6, 4, seed=6), normal(4, seed=7)
    expected = kl_divergence(
        Normal(mu, (0.5 * logvar).exp()), Normal(0.0, (0.5 * prior_logvar).exp())
    )
    found = prior.kl_to_variance(mu, logvar, prior_logvar=prior_logvar)
    torch.testing.assert_close(found, expected)


def test_kl_to_variance_of_one_is_the_usual_kl() -> None:
    mu, logvar = normal(6, 4), normal(6, 4, seed=6)
    found = prior.kl_to_variance(mu, logvar, prior_logvar=torch.zeros(4))
    torch.testing.assert_close(found, kl_per_dim(mu, logvar))


def test_variance_penalty_by_hand() -> None:
    assert prior.variance_penalty(torch.tensor([1.0, 3.0]).log()).item() == pytest.approx(4)


def test_expected_kl_is_the_mean_over_precisions_drawn_by_torch() -> None:
    mu, logvar = normal(1, 3), normal(1, 3, seed=6)
    shape, rate = torch.tensor([2.0, 5.0, 9.0]).double(), torch.tensor([1.0, 4.0, 20.0]).double()
    torch.manual_seed(2)
    precisions = Gamma(shape, rate).sample((200_000,))
    expected = kl_divergence(
        Normal(mu, (0.5 * logvar).exp()), Normal(0.0, precisions.rsqrt())
    ).mean(dim=0, keepdim=True)
    found = prior.expected_kl(mu, logvar, shape=shape, rate=rate)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.01)


def test_expected_kl_of_a_certain_precision_of_one_is_the_usual_kl() -> None:
    mu, logvar, certain = normal(6, 4), normal(6, 4, seed=6), torch.full((4,), 1e8).double()
    found = prior.expected_kl(mu, logvar, shape=certain, rate=certain)
    torch.testing.assert_close(found, kl_per_dim(mu, logvar), rtol=1e-6, atol=1e-7)


def test_gamma_kl_is_that_of_torch_and_zero_for_the_prior_itself() -> None:
    shape, rate, other = (normal(5, seed=seed).exp() for seed in (1, 2, 3))
    expected = kl_divergence(Gamma(shape, rate), Gamma(1 + other, other))
    found = prior.gamma_kl(shape, rate, prior_shape=1 + other, prior_rate=other)
    torch.testing.assert_close(found, expected)
    assert bool((found >= 0).all())
    same = prior.gamma_kl(shape, rate, prior_shape=shape, prior_rate=rate)
    torch.testing.assert_close(same, torch.zeros(5).double())


def test_gated_shape_is_wide_at_one_and_narrow_at_zero() -> None:
    found = prior.gated_shape(torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(found, torch.tensor([1.002 / 1.001, 1002.0]))


@pytest.mark.parametrize("name", ["kl_to_variance", "expected_kl", "gamma_kl"])
def test_prior_gradients(name: str) -> None:
    mu, logvar, first, second = (normal(3, seed=seed).requires_grad_() for seed in (1, 2, 3, 4))
    functions = {
        "kl_to_variance": lambda: prior.kl_to_variance(mu, logvar, prior_logvar=first),
        "expected_kl": lambda: prior.expected_kl(mu, logvar, shape=first.exp(), rate=second.exp()),
        "gamma_kl": lambda: prior.gamma_kl(
            mu.exp(), logvar.exp(), prior_shape=1 + first.exp(), prior_rate=first.exp()
        ),
    }
    assert torch.autograd.gradcheck(lambda *_: functions[name](), (mu, logvar, first, second))


def test_gated_prior_moves_a_dimension_with_information_towards_relevance() -> None:
    """A wide posterior over alpha is far from the narrow prior of a nuisance."""
    gated = prior.make_prior("gated-gamma", latent_dim=1, generator=Generator().manual_seed(1))
    assert isinstance(gated, prior.GammaPrior)
    with torch.no_grad():
        gated.log_shape.fill_(0.1)
        gated.log_rate.fill_(2.0)  # E[alpha] = 0.15: the code spreads far
    relevance = torch.tensor([0.5], requires_grad=True)
    gated.loss(relevance, n_images=10).backward()
    assert relevance.grad is not None
    assert float(relevance.grad) < 0


@pytest.mark.parametrize("name", ["gamma", "gated-gamma"])
def test_loss_is_the_precisions_kl_to_a_prior_with_its_mode_at_one_shared_by_all_images(
    name: str,
) -> None:
    learned = prior.make_prior(name, latent_dim=3, generator=Generator().manual_seed(1))
    assert isinstance(learned, prior.GammaPrior)
    relevance = torch.tensor([0.2, 0.5, 0.9])
    shape = learned.prior_shape(relevance)
    before = Gamma(shape, shape - 1)
    torch.testing.assert_close(before.mode, torch.ones(3))
    expected = kl_divergence(Gamma(learned.log_shape.exp(), learned.log_rate.exp()), before)
    found = learned.loss(relevance, n_images=50)
    torch.testing.assert_close(found, expected.sum() / 50)


@pytest.mark.parametrize("name", ["variance", "gamma", "gated-gamma"])
def test_folding_a_prior_makes_it_the_usual_one_and_keeps_reconstructions(name: str) -> None:
    generator = Generator().manual_seed(1)
    learned = prior.make_prior(name, latent_dim=3, generator=generator)
    vae = VAE((1, 32, 32), latent_dim=3).double().eval()
    with torch.no_grad():
        for seed, parameter in enumerate(learned.double().parameters()):
            parameter.copy_(normal(3, seed=seed))
    images = torch.rand(5, 1, 32, 32, generator=generator, dtype=torch.float64)
    mu, logvar = vae.encode(images)
    before, kl = vae.decode_logits(mu), learned.kl_per_dim(mu, logvar)

    learned.fold_into(vae)
    mu, logvar = vae.encode(images)

    torch.testing.assert_close(vae.decode_logits(mu), before)
    same_for_all = kl - kl_per_dim(mu, logvar)  # (batch, latent_dim)
    torch.testing.assert_close(same_for_all, same_for_all[:1].expand(5, 3))
    expected = torch.zeros(3).double()
    if isinstance(learned, prior.GammaPrior):
        expected = 0.5 * (learned.log_shape - learned.log_shape.exp().digamma())
    torch.testing.assert_close(same_for_all[0], expected)


def test_standard_prior_has_nothing_to_learn() -> None:
    standard = prior.make_prior("standard", latent_dim=3, generator=Generator())
    assert list(standard.parameters()) == []
    assert standard.description() == {}
    vae = VAE((3,), latent_dim=3)
    before = [parameter.clone() for parameter in vae.parameters()]
    standard.fold_into(vae)
    assert all(map(torch.equal, vae.parameters(), before))
