"""The density-ratio discriminator of FactorVAE (arXiv 1802.05983, section 3) and what it sees."""

import torch
from torch import Tensor, nn

from training.config import Config
from training.wide_linear import SMALLEST_WIDTH, WideLinear, has_matrix_tiles

LEAK = 0.2


def uses_tiles(config: Config) -> bool:
    """Whether the discriminator's products take bfloat16 when it trains on this processor."""
    wanted = config.discriminator.precision == "auto" and config.run.precision == "float32"
    layers, width = config.discriminator.hidden_layers, config.discriminator.hidden_units
    return wanted and layers > 1 and width >= SMALLEST_WIDTH and has_matrix_tiles()


class Discriminator(nn.Module):
    """Tells codes from codes with permuted columns; two logits: 0 = joint, 1 = permuted.

    With `tiles`, wide layers multiply in bfloat16 while they train on a CPU.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        hidden_units: int = 1000,
        hidden_layers: int = 5,
        tiles: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = latent_dim
        for _ in range(hidden_layers):
            hidden = WideLinear(width, hidden_units, tiles=tiles)
            layers += [hidden, nn.LeakyReLU(LEAK, inplace=True)]
            width = hidden_units
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, relevant_z: Tensor) -> Tensor:
        """(batch, latent_dim) -> logits (batch, 2)."""
        logits: Tensor = self.layers(relevant_z)
        return logits


class CodeHistory:
    """Ring of the posteriors of the last `history` batches.

    The encoder moves little from step to step, so recent codes make the discriminator's batch
    larger at no cost in convolutions. With `history` 1 it holds just the newest batch, as in the
    authors' code.
    """

    def __init__(self, *, history: int, batch_size: int, latent_dim: int) -> None:
        self.mu = torch.zeros(history, batch_size, latent_dim)
        self.logvar = torch.zeros(history, batch_size, latent_dim)
        self.n_appended = 0

    def to(self, device: torch.device) -> "CodeHistory":
        """Move the stored codes."""
        self.mu, self.logvar = self.mu.to(device), self.logvar.to(device)
        return self

    def append(self, mu: Tensor, logvar: Tensor) -> None:
        """Store one batch, (batch, latent_dim) each, over the oldest."""
        slot = self.n_appended % len(self.mu)
        self.mu[slot], self.logvar[slot] = mu.detach(), logvar.detach()
        self.n_appended += 1

    def posteriors(self) -> tuple[Tensor, Tensor]:
        """Stored mu and logvar, (n_stored * batch, latent_dim) each."""
        n_stored = min(self.n_appended, len(self.mu))
        return self.mu[:n_stored].flatten(0, 1), self.logvar[:n_stored].flatten(0, 1)

    def standardize(self, z: Tensor) -> Tensor:
        """Codes, (batch, latent_dim), around the mean of the stored ones and in their spread."""
        if self.n_appended == 0:
            return z
        mu, logvar = self.posteriors()
        variance = mu.var(dim=0) + logvar.exp().mean(dim=0)  # (latent_dim,), of sampled codes
        return (z - mu.mean(dim=0)) / variance.sqrt()


def shape_only(z: Tensor) -> Tensor:
    """z, (batch, latent_dim), with a gradient that neither shifts nor stretches a dimension.

    The total correlation does not depend on either. What a discriminator says of them is
    extrapolation: followed, it drives silent dimensions far from 0, to codes not seen before.
    """
    mean, std = z.mean(dim=0), z.std(dim=0)
    return (z - mean) * (std.detach() / std) + mean.detach()
