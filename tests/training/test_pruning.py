import pytest
import torch

from training.likelihood import Gaussian
from training.networks import VAE
from training.pruning import PruningLoss, Quality, measure_pruning, prune_vae

KEPT = [3, 1]
MEANS = torch.tensor([0.5, 9.0, -1.5, 9.0])
SHAPES = [(3, 16, 16), (5,)]


@pytest.fixture(params=SHAPES, ids=["images", "vectors"])
def vae(request):
    torch.manual_seed(0)
    return (
        VAE(
            request.param,
            latent_dim=4,
            hidden_units=8,
            likelihood=None if len(request.param) == 3 else Gaussian(1.0, bounded=False),
        )
        .eval()
        .requires_grad_(False)
    )


class Noise:
    """Random samples in [0, 1]."""

    name, source, n_images, factors = "noise", "procedural", 30, None

    def __init__(self, image_shape):
        self.image_shape = image_shape
        self.all = torch.rand(30, *image_shape, generator=torch.Generator().manual_seed(1))

    def sha256(self):
        return ""

    def images(self, indices):
        return self.all[indices]


def test_pruned_decoder_is_the_full_one_with_the_rest_at_its_mean(vae):
    relevant = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    full = MEANS.repeat(5, 1)
    full[:, KEPT] = relevant
    pruned = prune_vae(vae, KEPT, means=MEANS)
    torch.testing.assert_close(pruned.decode(relevant), vae.decode(full))


def test_pruned_encoder_gives_the_kept_dimensions_in_order(vae):
    images = Noise(vae.image_shape).all
    mu, logvar = vae.encode(images)
    pruned_mu, pruned_logvar = prune_vae(vae, KEPT, means=MEANS).encode(images)
    torch.testing.assert_close(pruned_mu, mu[:, KEPT])
    torch.testing.assert_close(pruned_logvar, logvar[:, KEPT])


def test_prune_leaves_the_full_model_as_it_was(vae):
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    prune_vae(vae, KEPT, means=MEANS)
    assert vae.latent_dim == 4
    for name, tensor in vae.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_measure_pruning_compares_the_reconstructions_written_out(vae):
    source = Noise(vae.image_shape)
    pruned = prune_vae(vae, KEPT, means=MEANS)
    indices = torch.tensor([2, 3, 5, 7])
    loss = measure_pruning(vae, pruned, source, indices=indices)
    images = source.images(indices)
    mu, logvar = vae.encode(images)
    cut = MEANS.repeat(4, 1)
    cut[:, KEPT] = mu[:, KEPT]
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)
    for quality, z, dims in ((loss.before, mu, range(4)), (loss.after, cut, KEPT)):
        output = vae.decode_logits(z)
        nats = float(vae.likelihood.reconstruction_loss(output, images).mean())
        assert quality.reconstruction_loss == pytest.approx(nats, rel=1e-5)
        assert quality.elbo == pytest.approx(-nats - float(kl[:, list(dims)].sum(1).mean()))
        error = float((vae.decode(z) - images).abs().mean())
        assert quality.absolute_error == pytest.approx(error, rel=1e-5)
    mean = images.mean(dim=0).expand_as(images)
    blind = -(images * mean.log() + (1 - images) * (1 - mean).log()).flatten(1).sum(dim=1)
    if len(vae.image_shape) == 1:
        blind = 0.5 * (images - mean).square().sum(dim=1)
    assert loss.blind_loss == pytest.approx(float(blind.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("before", "after", "blind", "share"),
    [
        (100.0, 100.0, 150.0, 0.0),
        (100.0, 150.0, 150.0, 1.0),
        (-10.0, -9.0, 0.0, 0.1),  # a Gaussian likelihood goes below 0
        (100.0, 95.0, 150.0, -0.1),
        (100.0, 101.0, 100.0, 1.0),
        (100.0, 99.0, 100.0, 0.0),
    ],
)
def test_share_is_the_lost_part_of_what_the_code_explains(before, after, blind, share):
    ends = (Quality(nats, elbo=0.0, absolute_error=0.0) for nats in (before, after))
    assert PruningLoss(*ends, blind_loss=blind).share == pytest.approx(share)
