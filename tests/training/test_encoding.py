import copy

import numpy as np
import pytest
import torch

from training.config import DataConfig
from training.data import open_images
from training.data.sprites import Sprites
from training.encoding import (
    MeanTable,
    encode_means,
    encode_with_elbo,
    measure_reconstruction,
    sample_indices,
)
from training.errors import RunError
from training.networks import VAE


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE((1, 32, 32), latent_dim=3, hidden_units=8).eval()


@pytest.fixture(scope="module")
def source():
    return Sprites("oval-dsprites", size=32)


def test_sample_indices_takes_all_of_a_small_set():
    assert sample_indices(5, 9, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_sample_indices_repeats_nothing_and_follows_its_seed():
    first, again, other = (sample_indices(1000, 300, seed=s) for s in (1, 1, 2))
    assert len(first.unique()) == 300
    assert first.equal(first.sort().values)
    assert first.equal(again)
    assert not first.equal(other)


def test_elbo_is_log_likelihood_at_mu_minus_kl(vae, source):
    indices = torch.arange(0, 240_000, 800)  # more than one batch
    encoded = encode_with_elbo(vae, source, indices)
    images = source.images(indices)
    with torch.no_grad():
        mu, logvar = vae.encode(images)
        pixels = torch.distributions.Bernoulli(logits=vae.decode_logits(mu))
        likelihood = pixels.log_prob(images).flatten(1).sum(dim=1)
        posterior = torch.distributions.Normal(mu, (logvar / 2).exp())
        prior = torch.distributions.Normal(0.0, 1.0)
        kl = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(encoded.mu, mu)
    torch.testing.assert_close(encoded.kl, kl)
    torch.testing.assert_close(encoded.elbo, likelihood - kl.sum(dim=1))


def test_encoding_that_is_not_finite_is_refused_with_a_cure(vae, source):
    broken = copy.deepcopy(vae)
    with torch.no_grad():
        next(broken.decoder.parameters()).fill_(torch.inf)
    with pytest.raises(RunError, match="finite numbers: it does not for 8 of 8 samples of `oval"):
        encode_with_elbo(broken, source, torch.arange(8))


def test_measure_reconstruction_is_cross_entropy_and_mean_square(vae, source):
    indices = torch.arange(0, 240_000, 800)  # more than one batch
    error = measure_reconstruction(vae, source, indices)
    images = source.images(indices)
    with torch.no_grad():
        pixels = torch.distributions.Bernoulli(logits=vae.decode_logits(vae.encode(images)[0]))
    assert error.nats == pytest.approx(-float(pixels.log_prob(images).sum()) / len(indices))
    assert error.squared == pytest.approx(float((pixels.probs - images).square().mean()))


def test_mean_table_encodes_each_image_once(vae, source):
    table = MeanTable(vae, source)
    first = table(np.array([7, 3, 7, 90_000]))
    assert table.n_encoded == 3
    again = table(np.array([3, 5]))
    assert table.n_encoded == 4
    assert (again[0] == first[1]).all()
    expected = encode_means(vae, source, torch.tensor([7, 3, 7, 90_000]))
    np.testing.assert_allclose(first, expected.numpy(), rtol=1e-4, atol=1e-6)


def test_mean_table_of_a_huge_set_takes_memory_for_what_was_asked_alone(vae):
    faces = open_images(DataConfig(name="clock-faces", size=32))
    table = MeanTable(vae, faces)
    indices = torch.randint(faces.n_images, (600,), generator=torch.Generator().manual_seed(0))
    found = table(indices.numpy())
    np.testing.assert_allclose(found, encode_means(vae, faces, indices).numpy(), atol=1e-5)
    assert table.n_encoded == len(indices.unique())
