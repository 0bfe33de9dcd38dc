"""Networks: shapes, layer sizes, and weights that a generator alone decides."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from training.config import Config
from training.config_file import parse_config
from training.discriminator import CodeHistory, Discriminator, shape_only
from training.errors import ConfigError
from training.likelihood import Gaussian
from training.networks import VAE, initialize, make_vae, side_plan


@pytest.mark.parametrize("size", [8, 28, 32, 48, 64, 75, 96, 100, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_vae_maps_images_to_codes_and_back(size: int, channels: int) -> None:
    vae = VAE((channels, size, size), latent_dim=5)
    images = torch.rand(2, channels, size, size)
    mu, logvar = vae.encode(images)
    assert mu.shape == logvar.shape == (2, 5)
    assert vae.decode_logits(mu).shape == images.shape
    assert torch.equal(vae.decode(mu), vae.decode_logits(mu).sigmoid())


def test_vae_has_the_layers_of_the_authors_at_64_pixels() -> None:
    vae = VAE((1, 64, 64), latent_dim=10)
    shapes = [tuple(p.shape) for name, p in vae.named_parameters() if name.endswith("weight")]
    assert shapes == [
        (32, 1, 4, 4),
        (32, 32, 4, 4),
        (64, 32, 4, 4),
        (64, 64, 4, 4),
        (128, 1024),
        (20, 128),
        (128, 10),
        (1024, 128),
        (64, 64, 4, 4),
        (64, 32, 4, 4),
        (32, 32, 4, 4),
        (32, 1, 4, 4),
    ]


def test_vae_takes_mu_from_the_first_half_of_the_encoders_output() -> None:
    vae = VAE((1, 32, 32), latent_dim=3)
    images = torch.rand(2, 1, 32, 32)
    output = vae.encoder(images)
    mu, logvar = vae.encode(images)
    assert torch.equal(mu, output[:, :3])
    assert torch.equal(logvar, output[:, 3:])


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (28, (28, 14, 7)),
        (64, (64, 32, 16, 8, 4)),
        (96, (96, 48, 24, 12, 6)),
        (100, (100, 50, 25, 13, 7)),
    ],
)
def test_side_plan_halves_to_at_most_seven_pixels(size: int, sides: tuple[int, ...]) -> None:
    assert side_plan((3, size, size)) == sides


@pytest.mark.parametrize("shape", [(1, 64, 32), (1, 7, 7)])
def test_side_plan_explains_images_that_fit_no_network(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=f"got {shape[1]} x {shape[2]}; change `data.size`"):
        side_plan(shape)


def test_vae_maps_vectors_to_codes_and_back_without_bounds() -> None:
    vae = VAE((6,), latent_dim=2, hidden_units=8, likelihood=Gaussian(bounded=False))
    rows = 5 * torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    mu, logvar = vae.encode(rows)
    assert mu.shape == logvar.shape == (3, 2)
    assert torch.equal(vae.decode(mu), vae.decode_logits(mu))
    assert vae.decode(mu).shape == rows.shape
    assert vae.mu_head().out_features == 4
    assert vae.decoder_input().in_features == 2


def test_make_vae_asks_for_a_gaussian_likelihood_for_vectors() -> None:
    with pytest.raises(ConfigError, match=r"vectors need a Gaussian likelihood: got .* 6 numbers"):
        make_vae(Config(), (6,))


def test_make_vae_takes_the_scale_from_the_configuration() -> None:
    objective = {"likelihood": "gaussian", "likelihood_scale": 0.5}
    vae = make_vae(parse_config({"objective": objective}, origin="test"), (3, 28, 28))
    images = torch.rand(2, 3, 28, 28)
    z = torch.zeros(2, 10)
    mean = vae.decode(z).detach()
    assert bool((mean >= 0).all())
    expected = -Normal(mean, 0.5).log_prob(images) - math.log(2 * math.pi) / 2
    loss = vae.likelihood.reconstruction_loss(vae.decode_logits(z), images)
    torch.testing.assert_close(loss.detach(), expected.sum(dim=(1, 2, 3)))


def test_authors_initialization_is_narrow_but_for_transposed_convolutions() -> None:
    vae = VAE((1, 64, 64), latent_dim=10)
    initialize(vae, scheme="authors", generator=torch.Generator().manual_seed(0))
    for layer in vae.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and not isinstance(layer, nn.ConvTranspose2d):
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.15)
            assert float(layer.bias.detach().abs().max()) == 0
        if isinstance(layer, nn.ConvTranspose2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.02)
            assert float(layer.weight.detach().std()) == pytest.approx(
                bound / math.sqrt(3), rel=0.1
            )


def test_kaiming_initialization_keeps_the_variance_of_a_rectified_signal() -> None:
    layer = nn.Linear(400, 300)
    initialize(layer, scheme="kaiming", generator=torch.Generator().manual_seed(0))
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / 400), rel=0.02)


def test_initialize_depends_on_the_generator_and_not_on_the_global_seed() -> None:
    weights = []
    for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(global_seed)
        vae = VAE((1, 32, 32), latent_dim=2)
        initialize(vae, scheme="authors", generator=torch.Generator().manual_seed(seed))
        weights.append(torch.cat([p.detach().flatten() for p in vae.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_discriminator_has_five_hidden_layers_of_a_thousand_by_default() -> None:
    layers = [m for m in Discriminator(10).modules() if isinstance(m, nn.Linear)]
    assert [m.in_features for m in layers] == [10, 1000, 1000, 1000, 1000, 1000]
    assert layers[-1].out_features == 2


def test_code_history_keeps_the_newest_batches() -> None:
    history = CodeHistory(history=2, batch_size=3, latent_dim=1)
    for value in (1.0, 2.0, 3.0):
        history.append(torch.full((3, 1), value), torch.full((3, 1), -value))
    mu, logvar = history.posteriors()
    assert mu.flatten().tolist() == [3, 3, 3, 2, 2, 2]
    assert torch.equal(logvar, -mu)


def test_code_history_standardizes_codes_by_those_that_it_holds() -> None:
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(2, 4000, 1, generator=generator) * 3 + 50
    history = CodeHistory(history=2, batch_size=4000, latent_dim=1)
    assert torch.equal(history.standardize(mu[0]), mu[0])  # nothing is known yet
    for batch in mu:
        history.append(batch, torch.full_like(batch, math.log(16)))
    z = mu.flatten(0, 1) + 4 * torch.randn(8000, 1, generator=generator)
    standardized = history.standardize(z)
    assert float(standardized.mean()) == pytest.approx(0, abs=0.05)
    assert float(standardized.std()) == pytest.approx(1, abs=0.05)


def test_shape_only_passes_no_gradient_to_shift_and_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(32, 3, generator=generator, dtype=torch.float64)
    shift = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    scale = torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True)
    bend = torch.ones(3, dtype=torch.float64, requires_grad=True)
    z = codes + bend * codes**3
    standard = (z - z.mean(dim=0)) / z.std(dim=0)
    moved = shift + scale * standard
    seen = shape_only(moved)
    torch.testing.assert_close(seen, moved)
    seen.pow(4).sum().backward()
    zeros = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(shift.grad, zeros, atol=1e-9, rtol=0)
    torch.testing.assert_close(scale.grad, zeros, atol=1e-9, rtol=0)
    assert bend.grad is not None
    assert float(bend.grad.abs().min()) > 0.1  # what does change the shape is felt


def test_code_history_gives_only_what_was_stored() -> None:
    history = CodeHistory(history=4, batch_size=3, latent_dim=1)
    history.append(torch.ones(3, 1), torch.ones(3, 1))
    assert history.posteriors()[0].shape == (3, 1)


@pytest.mark.parametrize("shape", [(1, 16, 16), (6,)])
def test_encoder_slope_keeps_the_gradient_of_units_that_are_silent(shape: tuple[int, ...]) -> None:
    samples = torch.rand(8, *shape, generator=torch.Generator().manual_seed(0))
    gradients = {}
    for slope in (0.0, 0.1):
        settings = {"latent_dim": 2, "hidden_units": 8, "encoder_slope": slope}
        objective = {"likelihood": "gaussian"}
        config = parse_config({"model": settings, "objective": objective}, origin="test")
        vae = make_vae(config, shape)
        initialize(vae, scheme="kaiming", generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            vae.encoder[-3].bias.fill_(-100.0)  # no sample brings a unit above 0
        vae.encode(samples)[0].sum().backward()
        gradients[slope] = vae.encoder[0].weight.grad.abs().sum()
        assert not any(isinstance(layer, nn.LeakyReLU) for layer in vae.decoder)
    assert gradients[0.0] == 0
    assert gradients[0.1] > 0
