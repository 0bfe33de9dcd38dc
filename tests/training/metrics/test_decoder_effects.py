import numpy as np
import pytest
import torch

from training.metrics.decoder_effects import decoder_sensitivity, traversal_effect

WEIGHTS = torch.tensor([[1.0, -2.0, 0.0, 0.5], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


def linear(z):
    return (z @ WEIGHTS).view(-1, 1, 2, 2)


def test_decoder_sensitivity_of_a_linear_decoder_is_spread_times_squared_weights():
    variances = torch.tensor([2.0, 0.1, 5.0])
    found = decoder_sensitivity(linear, torch.randn(7, 3), variances=variances)
    assert found == pytest.approx([2.0 * 5.25, 0.1 * 9.0, 0.0], rel=1e-3)


def test_decoder_sensitivity_squares_the_mean_absolute_jacobian():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())

    def decode(z):
        return network(z).view(-1, 1, 2, 2)

    z = torch.randn(6, 3)
    rows = [torch.autograd.functional.jacobian(lambda x: decode(x[None])[0, 0], row) for row in z]
    slopes = torch.stack(rows).abs().mean(dim=0)  # (2, 2, latent_dim)
    expected = slopes.square().sum(dim=(0, 1)) * torch.tensor([1.0, 2.0, 0.5])
    found = decoder_sensitivity(decode, z, variances=torch.tensor([1.0, 2.0, 0.5]))
    assert found == pytest.approx(expected.tolist(), rel=1e-3)


def test_traversal_effect_counts_changed_pixels():
    def decode(z):
        """Dimension 0 lights three of four pixels above 0; dimension 1 does nothing."""
        lit = (z[:, :1] > 0).float()  # (batch, 1)
        return torch.cat([lit, lit, lit, torch.zeros_like(lit)], dim=1).view(-1, 1, 2, 2)

    latents, ends = torch.randn(5, 2), torch.tensor([1.0, 1.0])
    effects = traversal_effect(decode, latents, low=-ends, high=ends)
    np.testing.assert_array_equal(effects, [3.0, 0.0])


def test_traversal_effect_sees_a_factor_that_comes_back_to_its_start():
    def decode(z):
        return (1 - z[:, :1].square()).view(-1, 1, 1, 1)

    effects = traversal_effect(
        decode, torch.zeros(2, 1), low=torch.tensor([-1.0]), high=torch.tensor([1.0])
    )
    assert effects == pytest.approx([1.0])


def test_traversal_effect_averages_channels():
    def decode(z):
        return z.clamp(0, 1).view(-1, 1, 1, 1).expand(-1, 3, 1, 1) * torch.tensor(
            [1.0, 0.5, 0.0]
        ).view(1, 3, 1, 1)

    effects = traversal_effect(
        decode, torch.zeros(1, 1), low=torch.tensor([0.0]), high=torch.tensor([1.0])
    )
    assert effects == pytest.approx([0.5])
