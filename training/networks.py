"""Encoder and decoder of the VAE: convolutions for images, linear layers for vectors.

At 64 x 64 and 32 x 32 pixels the convolutions are those of arXiv 1902.01568, as in the authors'
code. Other sizes follow the same rule: halve the image until it is at most 7 pixels wide.
"""

import itertools
import math

import torch
from torch import Generator, Tensor, nn

from training.config import Config
from training.errors import ConfigError
from training.likelihood import Bernoulli, Likelihood, make_likelihood
from training.rectifier import ReLU
from training.upsampling import UpConv2d

LARGEST_GRID = 7  # side of the smallest feature map, at most
SMALLEST_SIDE = LARGEST_GRID + 1
WIDE, NARROW = 64, 32  # channels next to the smallest map, and further out
AUTHORS_STD = 0.02


SampleShape = tuple[int, ...]  # (channels, height, width) of images, (n_columns,) of vectors


class VAE(nn.Module):
    """A Gaussian encoder and a decoder for samples of `image_shape`.

    Args:
        image_shape: (channels, height, width) with height = width >= 8, or (n_columns,).
        latent_dim: Number of latent dimensions.
        hidden_units: Width of the fully connected layers on either side of the code.
        encoder_slope: Slope of the encoder's rectifiers below 0.
        likelihood: What the decoder's output means; Bernoulli pixels by default.
    """

    def __init__(
        self,
        image_shape: SampleShape,
        *,
        latent_dim: int,
        hidden_units: int = 128,
        encoder_slope: float = 0.0,
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        build = linear_networks if len(image_shape) == 1 else conv_networks
        self.encoder, self.decoder = build(
            image_shape,
            latent_dim=latent_dim,
            hidden_units=hidden_units,
            encoder_slope=encoder_slope,
        )
        self.likelihood = likelihood or Bernoulli()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, *image_shape), pixels in [0, 1] -> mu and logvar, (batch, latent_dim) each."""
        mu, logvar = self.encoder(images).chunk(2, dim=1)  # (batch, latent_dim)
        return mu, logvar

    def mu_head(self) -> nn.Linear:
        """The encoder's last layer; its first `latent_dim` rows give mu."""
        return _linear(self.encoder[-1])

    def decoder_input(self) -> nn.Linear:
        """The decoder's first layer, which reads z."""
        return _linear(self.decoder[0])

    def decode_logits(self, z: Tensor) -> Tensor:
        """(batch, latent_dim) -> what the likelihood reads, for Bernoulli logits.

        (batch, *image_shape).
        """
        logits: Tensor = self.decoder(z)
        return logits

    def decode(self, z: Tensor) -> Tensor:
        """(batch, latent_dim) -> mean samples (batch, *image_shape); images in [0, 1]."""
        return self.likelihood.mean(self.decode_logits(z))


def make_vae(config: Config, image_shape: SampleShape) -> VAE:
    """The networks that a configuration asks for, for samples of `image_shape`."""
    likelihood = make_likelihood(
        config.objective.likelihood,
        scale=config.objective.likelihood_scale,
        is_image=len(image_shape) > 1,
    )
    if len(image_shape) == 1 and config.objective.likelihood == "bernoulli":
        raise ConfigError(
            "vectors need a Gaussian likelihood: got `objective.likelihood` = `bernoulli` for rows "
            f"of {image_shape[0]} numbers; set `objective.likelihood` = `gaussian`"
        )
    return VAE(
        image_shape,
        latent_dim=config.model.latent_dim,
        hidden_units=config.model.hidden_units,
        encoder_slope=config.model.encoder_slope,
        likelihood=likelihood,
    )


def _linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


def linear_networks(
    shape: SampleShape, *, latent_dim: int, hidden_units: int, encoder_slope: float
) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder (batch, n_columns) -> (batch, 2 latent_dim) and decoder, two hidden layers each."""
    (n_columns,) = shape
    return tuple(  # type: ignore[return-value]
        nn.Sequential(
            nn.Linear(width, hidden_units),
            _rectifier(slope),
            nn.Linear(hidden_units, hidden_units),
            _rectifier(slope),
            nn.Linear(hidden_units, n_outputs),
        )
        for width, n_outputs, slope in (
            (n_columns, 2 * latent_dim, encoder_slope),
            (latent_dim, n_columns, 0.0),
        )
    )


def _rectifier(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True) if slope > 0 else ReLU()


def side_plan(shape: SampleShape) -> tuple[int, ...]:
    """Sides of the feature maps: 64, 32, 16, 8, 4; or 100, 50, 25, 13, 7."""
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < SMALLEST_SIDE:
        raise ConfigError(
            f"images must be square with a side of at least {SMALLEST_SIDE} pixels: got "
            f"{' x '.join(str(side) for side in shape[1:])}; change `data.size`, or crop the images"
        )
    sides = [shape[1]]
    while sides[-1] > LARGEST_GRID:
        sides.append((sides[-1] + 1) // 2)
    return tuple(sides)


def channel_plan(shape: SampleShape) -> tuple[int, ...]:
    """Channels of the image and after each halving: 1, 32, 32, 64, 64 for 64 gray pixels."""
    halvings = len(side_plan(shape)) - 1
    return (shape[0], *[NARROW] * (halvings - 2), *[WIDE] * min(2, halvings))


def kernel_size(side: int) -> int:
    """Width of the filter that halves an image of `side` pixels exactly, with padding 1.

    Undone by a transposed convolution of the same width, also without a remainder.
    """
    return 4 if side % 2 == 0 else 3


def conv_networks(
    shape: SampleShape, *, latent_dim: int, hidden_units: int, encoder_slope: float
) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder images -> (batch, 2 latent_dim) and its mirror, the decoder -> (batch, *shape).

    Convolutions of stride 2, then two linear layers.
    """
    sides, channels = side_plan(shape), channel_plan(shape)
    kernels = [kernel_size(side) for side in sides[:-1]]
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for (outer, inner), kernel in zip(itertools.pairwise(channels), kernels, strict=True):
        convolution = nn.Conv2d(outer, inner, kernel, stride=2, padding=1)
        down += [convolution, _rectifier(encoder_slope)]
        up = [ReLU(), UpConv2d(inner, outer, kernel), *up]
    grid = (channels[-1], sides[-1], sides[-1])
    encoder = nn.Sequential(
        *down,
        nn.Flatten(),
        nn.Linear(math.prod(grid), hidden_units),
        _rectifier(encoder_slope),
        nn.Linear(hidden_units, 2 * latent_dim),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, hidden_units),
        nn.ReLU(),
        nn.Linear(hidden_units, math.prod(grid)),
        nn.Unflatten(1, grid),
        *up,
    )
    return encoder, decoder


def initialize(network: nn.Module, *, scheme: str, generator: Generator) -> None:
    """Draw all weights from `generator`, so that a seed decides them and no global state does.

    Args:
        network: Its linear, convolutional and transposed convolutional layers are set.
        scheme: `authors`: N(0, 0.02²) and bias 0; `kaiming`: He normal and bias 0. Transposed
            convolutions keep PyTorch's default in both: the authors' code skips them.
        generator: Source of randomness, on the CPU.
    """
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            _default(layer, generator)
        elif isinstance(layer, nn.Linear | nn.Conv2d):
            _normal(layer, scheme=scheme, generator=generator)


def _normal(layer: nn.Linear | nn.Conv2d, *, scheme: str, generator: Generator) -> None:
    if scheme == "authors":
        nn.init.normal_(layer.weight, std=AUTHORS_STD, generator=generator)
    else:
        nn.init.kaiming_normal_(layer.weight, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _default(layer: nn.ConvTranspose2d, generator: Generator) -> None:
    """What `ConvTranspose2d.reset_parameters` does, with a generator."""
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    fan_in = layer.weight.shape[1] * layer.weight.shape[2] * layer.weight.shape[3]
    if layer.bias is not None:
        with torch.no_grad():
            layer.bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
