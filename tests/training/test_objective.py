"""Each term by hand, against torch.distributions, by its properties and by its gradient."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from training import objective
from training.objective import Terms, Weights


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_reconstruction_by_hand() -> None:
    logits = torch.tensor([[[[0.0, 0.0]]], [[[math.log(3), -math.log(3)]]]])
    images = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 1.0]]]])
    nats = objective.bernoulli_reconstruction(logits, images)
    expected = torch.tensor([2 * math.log(2), -math.log(0.75) - math.log(0.25)])
    torch.testing.assert_close(nats, expected)


def test_reconstruction_is_minus_the_bernoulli_log_likelihood_per_image() -> None:
    logits = normal(3, 2, 4, 4)
    images = (normal(3, 2, 4, 4) > 0).double()
    expected = -Bernoulli(logits=logits).log_prob(images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(objective.bernoulli_reconstruction(logits, images), expected)


def test_reconstruction_stays_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[[[1e4, -1e4]]]])
    nats = objective.bernoulli_reconstruction(logits, torch.tensor([[[[0.0, 1.0]]]]))
    assert nats.item() == pytest.approx(2e4)


def test_gaussian_reconstruction_is_minus_the_log_likelihood_without_its_constant() -> None:
    mean, images, scale = normal(3, 5), normal(3, 5).flip(0), torch.tensor(0.7).double()
    log_p = Normal(mean, scale).log_prob(images) + math.log(2 * math.pi) / 2
    nats = objective.gaussian_reconstruction(mean, images, log_scale=scale.log())
    torch.testing.assert_close(nats, -log_p.sum(dim=1))


def test_gaussian_reconstruction_at_unit_scale_is_half_the_squared_error() -> None:
    nats = objective.gaussian_reconstruction(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 0.0]]), log_scale=torch.tensor(0.0)
    )
    assert nats.tolist() == [(9 + 4) / 2]


def test_gaussian_reconstruction_is_least_where_the_scale_is_the_error() -> None:
    """d / d ln s vanishes at s² = mean squared error (arXiv 2006.13202, eq. 5)."""
    mean, images = normal(4, 6), normal(4, 6).flip(1)
    log_scale = (0.5 * (images - mean).square().mean().log()).requires_grad_()
    nats = objective.gaussian_reconstruction(mean, images, log_scale=log_scale).sum()
    (gradient,) = torch.autograd.grad(nats, log_scale)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


def test_gaussian_reconstruction_gradient() -> None:
    mean, scale = normal(2, 3).requires_grad_(), normal(1)[0].requires_grad_()
    images = normal(2, 3).flip(0)
    assert torch.autograd.gradcheck(
        lambda m, s: objective.gaussian_reconstruction(m, images, log_scale=s), (mean, scale)
    )


def test_kl_per_dim_by_hand() -> None:
    kl = objective.kl_per_dim(torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, math.log(4)]]))
    torch.testing.assert_close(kl, torch.tensor([[0.0, (9 + 4 - math.log(4) - 1) / 2]]))


def test_kl_per_dim_is_that_of_torch_and_never_negative() -> None:
    mu, logvar = normal(6, 4), 2 * normal(6, 4).flip(0)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    kl = objective.kl_per_dim(mu, logvar)
    torch.testing.assert_close(kl, expected)
    assert bool((kl >= 0).all())


def test_kl_per_dim_gradient() -> None:
    mu, logvar = normal(2, 3).requires_grad_(), normal(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(objective.kl_per_dim, (mu, logvar))


def test_kl_weights_go_from_max_at_zero_to_min_at_one() -> None:
    relevance = torch.tensor([0.0, 0.5, 1.0])
    weights = objective.kl_weights(relevance, kl_weight_min=0.1, kl_weight_max=10.0)
    torch.testing.assert_close(weights, torch.tensor([10.0, 5.05, 0.1]))


def test_weighted_kl_weighs_each_dimension_by_its_own_weight() -> None:
    kl = torch.tensor([[1.0, 10.0, 100.0], [3.0, 30.0, 300.0]])
    relevance = torch.tensor([0.0, 1.0, 0.0])
    weights = objective.kl_weights(relevance, kl_weight_min=0.5, kl_weight_max=2.0)
    assert objective.weighted_kl(kl, weights).item() == 2 * 2 + 20 * 0.5 + 200 * 2


def test_weighted_kl_relevance_changes_only_its_own_dimensions_gradient() -> None:
    def gradient(relevance: Tensor) -> Tensor:
        mu = normal(4, 3).requires_grad_()
        kl = objective.kl_per_dim(mu, normal(4, 3))
        weights = objective.kl_weights(relevance, kl_weight_min=0.1, kl_weight_max=10.0)
        (result,) = torch.autograd.grad(objective.weighted_kl(kl, weights), mu)
        return result

    before = gradient(torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64))
    after = gradient(torch.tensor([0.5, 0.9, 0.5], dtype=torch.float64))
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert bool((before[:, 1].abs() > after[:, 1].abs()).all())


def test_weighted_kl_gradient_of_the_gate_is_the_kl_of_its_dimension() -> None:
    kl = torch.tensor([[1.0, 4.0], [3.0, 0.0]])
    relevance = torch.tensor([0.3, 0.6], requires_grad=True)
    weights = objective.kl_weights(relevance, kl_weight_min=0.1, kl_weight_max=10.0)
    objective.weighted_kl(kl, weights).backward()
    torch.testing.assert_close(relevance.grad, -9.9 * torch.tensor([2.0, 2.0]))


def test_density_ratio_tc_is_the_mean_difference_of_the_two_logits() -> None:
    logits = torch.tensor([[3.0, 1.0], [0.0, 4.0]])
    assert objective.density_ratio_tc(logits).item() == -1.0


def test_density_ratio_tc_of_the_best_discriminator_is_the_total_correlation(
    generator: torch.Generator,
) -> None:
    """For a bivariate Gaussian with correlation c, TC = -ln(1 - c²) / 2."""
    c = 0.8
    first = torch.randn(200_000, generator=generator, dtype=torch.float64)
    noise = torch.randn(200_000, generator=generator, dtype=torch.float64)
    second = c * first + math.sqrt(1 - c**2) * noise
    log_joint = Normal(c * first, math.sqrt(1 - c**2)).log_prob(second)
    logits = torch.stack([log_joint, Normal(0.0, 1.0).log_prob(second)], dim=1)
    expected = -0.5 * math.log(1 - c**2)
    assert objective.density_ratio_tc(logits).item() == pytest.approx(expected, abs=0.01)


def test_sparsity_is_the_sum_of_relevances() -> None:
    assert objective.sparsity(torch.tensor([0.25, 0.5, 1.0])).item() == 1.75


def test_relevance_entropy_is_that_of_torch() -> None:
    logits = 3 * normal(6)
    expected = Bernoulli(logits=logits).entropy().sum()
    torch.testing.assert_close(objective.relevance_entropy(logits), expected)


def test_relevance_entropy_is_largest_at_one_half() -> None:
    assert objective.relevance_entropy(torch.zeros(3)).item() == pytest.approx(3 * math.log(2))


def test_relevance_entropy_gradient_is_minus_a_r_one_minus_r() -> None:
    logits = normal(5).requires_grad_()
    (gradient,) = torch.autograd.grad(objective.relevance_entropy(logits), logits)
    relevance = logits.sigmoid()
    torch.testing.assert_close(gradient, -logits * relevance * (1 - relevance))
    assert torch.autograd.gradcheck(objective.relevance_entropy, (logits,))


def test_minimizing_relevance_entropy_moves_relevance_away_from_one_half() -> None:
    logits = torch.tensor([0.1, -0.1], requires_grad=True)
    objective.relevance_entropy(logits).backward()
    assert logits.grad is not None
    after = (logits - logits.grad).sigmoid().tolist()
    before = logits.sigmoid().tolist()
    assert after[0] > before[0] > 0.5 > before[1] > after[1]


@pytest.mark.parametrize("logit", [50.0, -50.0, 500.0])
def test_relevance_entropy_is_finite_and_never_negative_at_the_ends(logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    entropy = objective.relevance_entropy(logits)
    entropy.backward()
    assert 0 <= entropy.item() < 1e-19
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_reparameterize_has_the_mean_and_the_spread_of_the_posterior(
    generator: torch.Generator,
) -> None:
    mu = torch.tensor([[2.0, -1.0]]).expand(50_000, 2)
    logvar = torch.tensor([[math.log(9), math.log(0.25)]]).expand(50_000, 2)
    eps = torch.empty_like(mu).normal_(generator=generator)
    z = objective.reparameterize(mu, logvar, eps=eps)
    torch.testing.assert_close(z.mean(dim=0), mu[0], atol=0.05, rtol=0)
    torch.testing.assert_close(z.std(dim=0), torch.tensor([3.0, 0.5]), atol=0, rtol=0.02)


def test_permute_dims_keeps_the_values_of_each_column(generator: torch.Generator) -> None:
    z = torch.arange(60.0).reshape(20, 3)
    permuted = objective.permute_dims(z, generator=generator)
    assert torch.equal(permuted.sort(dim=0).values, z)


def test_permute_dims_breaks_the_rows(generator: torch.Generator) -> None:
    column = torch.arange(1000.0)
    z = torch.stack([column, column], dim=1)
    permuted = objective.permute_dims(z, generator=generator)
    assert int((permuted[:, 0] == permuted[:, 1]).sum()) < 20
    assert abs(float(torch.corrcoef(permuted.T)[0, 1])) < 0.1


def test_permute_dims_keeps_a_batch_of_one(generator: torch.Generator) -> None:
    z = torch.tensor([[1.0, 2.0]])
    assert torch.equal(objective.permute_dims(z, generator=generator), z)


def test_discriminator_loss_by_hand() -> None:
    joint = torch.tensor([[math.log(3), 0.0]])  # says joint with 3/4
    permuted = torch.tensor([[0.0, math.log(4)]])  # says permuted with 4/5
    expected = -0.5 * (math.log(0.75) + math.log(0.8))
    assert objective.discriminator_loss(joint, permuted).item() == pytest.approx(expected)


def test_discriminator_loss_at_chance_is_ln_two() -> None:
    logits = torch.zeros(5, 2)
    assert objective.discriminator_loss(logits, logits).item() == pytest.approx(math.log(2))


def test_elbo_uses_unit_kl_weights() -> None:
    kl = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    assert objective.elbo(torch.tensor([10.0, 20.0]), kl).tolist() == [-13.0, -20.5]


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    terms = Terms(
        reconstruction=torch.tensor(100.0),
        kl_per_dim=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        kl_weights=torch.tensor([10.0, 0.5]),
        total_correlation=torch.tensor(0.25),
        sparsity=torch.tensor(1.5),
        relevance_entropy=torch.tensor(0.75),
    )
    weights = Weights(
        kl_weight_min=0.5, kl_weight_max=10, tc_weight=4, sparsity_weight=2, entropy_weight=8
    )
    assert terms.loss(weights).item() == 100 + (20 + 1.5) + 1 + 3 + 6


@pytest.mark.parametrize(
    ("term", "shapes"),
    [
        (lambda x: objective.bernoulli_reconstruction(x, normal(2, 3).sigmoid()), [(2, 3)]),
        (lambda m, v: objective.reparameterize(m, v, eps=normal(2, 3)), [(2, 3), (2, 3)]),
        (
            lambda k, r: objective.weighted_kl(
                k, objective.kl_weights(r, kl_weight_min=0.1, kl_weight_max=10.0)
            ),
            [(4, 3), (3,)],
        ),
        (objective.density_ratio_tc, [(5, 2)]),
        (objective.sparsity, [(3,)]),
        (objective.relevance_entropy, [(3,)]),
        (objective.discriminator_loss, [(5, 2), (4, 2)]),
        (lambda k: objective.elbo(normal(4), k), [(4, 3)]),
    ],
    ids=[
        "bernoulli_reconstruction",
        "reparameterize",
        "weighted_kl",
        "density_ratio_tc",
        "sparsity",
        "relevance_entropy",
        "discriminator_loss",
        "elbo",
    ],
)
def test_term_has_the_gradient_of_its_differences(
    term: Callable[..., Tensor], shapes: list[tuple[int, ...]]
) -> None:
    inputs = tuple(normal(*shape).requires_grad_() for shape in shapes)
    assert torch.autograd.gradcheck(term, inputs)


@pytest.mark.parametrize("capacity", [1.0, 30.0])
def test_capacity_term_has_the_gradient_of_its_differences(capacity: float) -> None:
    def term(kl: Tensor) -> Tensor:
        zero = torch.zeros(())
        weights = torch.full((3,), 4.0, dtype=torch.float64)
        terms = Terms(
            zero, kl, weights, total_correlation=zero, sparsity=zero, relevance_entropy=zero
        )
        return terms.weighted_kl(capacity)

    kl = (normal(4, 3).square() + 1).requires_grad_()
    assert torch.autograd.gradcheck(term, (kl,))
    assert term(kl).item() == pytest.approx(4 * abs(kl.sum(1).mean().item() - capacity))
