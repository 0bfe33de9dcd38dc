"""Turning the latent axes: the networks stay equivalent, and the turn follows the gradient."""

import torch
from torch import Generator

from training.networks import VAE, initialize
from training.rotation import LatentRotation

LATENT_DIM = 4


def make_vae() -> VAE:
    vae = VAE((1, 32, 32), latent_dim=LATENT_DIM)
    initialize(vae, scheme="kaiming", generator=Generator().manual_seed(1))
    return vae


def turned_rotation(angle: float) -> LatentRotation:
    """Turns the plane of the first two dimensions by `angle` radians."""
    rotation = LatentRotation(LATENT_DIM)
    with torch.no_grad():
        rotation.generator[1, 0] = angle
    return rotation


def test_turn_changes_nothing_at_the_start_of_a_step():
    rotation, z = LatentRotation(LATENT_DIM), torch.randn(5, LATENT_DIM)
    assert torch.equal(rotation.turn(z), z)
    assert torch.equal(rotation.turn_back(z), z)


def test_fold_turns_mu_and_keeps_logvar():
    vae, images = make_vae(), torch.rand(3, 1, 32, 32)
    mu, logvar = vae.encode(images)
    angle = torch.tensor(0.3)
    turned_rotation(0.3).fold_into(vae)
    turned_mu, kept_logvar = vae.encode(images)
    expected = mu.clone()
    expected[:, 0] = angle.cos() * mu[:, 0] - angle.sin() * mu[:, 1]
    expected[:, 1] = angle.sin() * mu[:, 0] + angle.cos() * mu[:, 1]
    torch.testing.assert_close(turned_mu, expected)
    torch.testing.assert_close(kept_logvar, logvar)


def test_fold_keeps_the_reconstruction_of_the_mean():
    vae, images = make_vae(), torch.rand(3, 1, 32, 32)
    before = vae.decode_logits(vae.encode(images)[0])
    rotation = turned_rotation(0.7)
    rotation.fold_into(vae)
    torch.testing.assert_close(vae.decode_logits(vae.encode(images)[0]), before)
    assert not rotation.generator.any()


def test_gradient_equals_that_of_the_folded_networks():
    """d loss / d angle at 0, by autograd through `turn` and by folding a small turn in and out."""
    images, eps = torch.rand(4, 1, 32, 32), 0.1 * torch.randn(4, LATENT_DIM)
    scale = torch.tensor([1.0, 3.0, 1.0, 1.0])

    def loss(vae: VAE, rotation: LatentRotation) -> torch.Tensor:
        mu = rotation.turn(vae.encode(images)[0])
        logits = vae.decode_logits(rotation.turn_back(mu + eps))
        return (scale * mu.square()).sum() + logits.square().sum()

    vae, rotation = make_vae().double(), LatentRotation(LATENT_DIM).double()
    images, eps, scale = images.double(), eps.double(), scale.double()
    (gradient,) = torch.autograd.grad(loss(vae, rotation), [rotation.generator])
    values = []
    for angle in (1e-4, -1e-4):
        folded = make_vae().double()
        turned_rotation(angle).double().fold_into(folded)
        values.append(loss(folded, LatentRotation(LATENT_DIM).double()).item())
    torch.testing.assert_close(
        gradient[1, 0].item(), (values[0] - values[1]) / 2e-4, rtol=1e-4, atol=1e-6
    )
