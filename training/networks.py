"""Encoder and decoder of the VAE (networks of arXiv 1902.01568, as in the authors' code).

Both halve or double the image four pixels at a time, between `size` x `size` and 4 x 4.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from training.errors import ConfigError

GRID = 4  # side of the smallest feature map
WIDE, NARROW = 64, 32  # channels next to the smallest map, and further out
AUTHORS_STD = 0.02


class VAE(nn.Module):
    """A Gaussian encoder and an image decoder for images of `image_shape`.

    Args:
        image_shape: (channels, height, width); height = width = 8, 16, 32, 64, 128 …
        latent_dim: Number of latent dimensions.
        hidden_units: Width of the fully connected layer on either side of the code.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, latent_dim: int, hidden_units: int = 128
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        channels = (image_shape[0], *channel_plan(image_shape))
        self.encoder = conv_encoder(channels, latent_dim=latent_dim, hidden_units=hidden_units)
        self.decoder = conv_decoder(
            channels[::-1], latent_dim=latent_dim, hidden_units=hidden_units
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, height, width) in [0, 1] -> mu and logvar, (batch, latent_dim) each."""
        mu, logvar = self.encoder(images).chunk(2, dim=1)  # (batch, latent_dim)
        return mu, logvar

    def mu_head(self) -> nn.Linear:
        """The encoder's last layer; its first `latent_dim` rows give mu."""
        return _linear(self.encoder[-1])

    def decoder_input(self) -> nn.Linear:
        """The decoder's first layer, which reads z."""
        return _linear(self.decoder[0])

    def decode_logits(self, z: Tensor) -> Tensor:
        """(batch, latent_dim) -> Bernoulli logits (batch, channels, height, width)."""
        logits: Tensor = self.decoder(z)
        return logits

    def decode(self, z: Tensor) -> Tensor:
        """(batch, latent_dim) -> mean images in [0, 1], (batch, channels, height, width)."""
        return self.decode_logits(z).sigmoid()


def _linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


def channel_plan(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Channels after each halving: 32, 32, 64, 64 for 64 pixels; 32, 64, 64 for 32 pixels."""
    _, height, width = image_shape
    halvings = round(math.log2(height / GRID))
    if height != width or halvings < 1 or GRID * 2**halvings != height:
        raise ConfigError(
            "images must be square with a side of 4 x 2, 4, 8 … pixels: got "
            f"{height} x {width}; change `data.size`"
        )
    return (*[NARROW] * (halvings - 2), *[WIDE] * min(2, halvings))


def conv_encoder(channels: Sequence[int], *, latent_dim: int, hidden_units: int) -> nn.Sequential:
    """Convolutions 4x4 of stride 2, then two linear layers: images -> (batch, 2 latent_dim)."""
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(channels):
        layers += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels[-1] * GRID**2, hidden_units),
        nn.ReLU(),
        nn.Linear(hidden_units, 2 * latent_dim),
    )


def conv_decoder(channels: Sequence[int], *, latent_dim: int, hidden_units: int) -> nn.Sequential:
    """The encoder mirrored: (batch, latent_dim) -> logits (batch, channels, height, width)."""
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(channels):
        layers += [nn.ReLU(), nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1)]
    return nn.Sequential(
        nn.Linear(latent_dim, hidden_units),
        nn.ReLU(),
        nn.Linear(hidden_units, channels[0] * GRID**2),
        nn.Unflatten(1, (channels[0], GRID, GRID)),
        *layers,
    )


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
