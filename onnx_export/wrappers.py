"""The modules that become graphs: samples to a posterior, latents to samples. No randomness."""

import torch
from torch import Tensor, nn

from training.networks import VAE


class EncoderGraph(nn.Module):
    """Scale uint8 pixels to [0, 1] and encode them.

    Args:
        image: (batch, channels, height, width), uint8.

    Returns:
        mu and logvar, each (batch, latent_dim), float32.
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.vae.encode(image.to(torch.float32) / 255.0)
        return mu, logvar


class RowEncoderGraph(nn.Module):
    """Encode rows of numbers.

    Args:
        row: (batch, n_columns), float32, standardized.

    Returns:
        mu and logvar, each (batch, latent_dim), float32.
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.vae.encode(row)
        return mu, logvar


class DecoderGraph(nn.Module):
    """Decode latents to pixels in [0, 1], the sigmoid included, or to standardized rows.

    Args:
        z: (batch, latent_dim), float32.

    Returns:
        Pixels (batch, channels, height, width), or rows (batch, n_columns), float32.
    """

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: Tensor) -> Tensor:
        return self.vae.decode(z)
