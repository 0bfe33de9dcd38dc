"""The relevance gate: how much each latent dimension counts, learned or fixed.

r = sigmoid(a) with one free logit a a dimension (arXiv 1902.01568). A learned gate starts near
`initial`, and `gate_clock.py` says when it opens; a fixed gate is the mask of RF-VAE-0.
"""

import torch
from torch import Generator, Tensor, nn

from training.config import RelevanceConfig

JITTER = 0.001  # the authors' start: 0.001 * randn


class RelevanceGate(nn.Module):
    """Holds `relevance_logits`, (latent_dim,).

    A fixed gate of 0 or 1 has infinite logits, whose sigmoid is exactly 0 or 1.
    """

    def __init__(self, config: RelevanceConfig, *, latent_dim: int, generator: Generator) -> None:
        super().__init__()
        self.learned = config.mode == "learned"
        logits = initial_logits(config, latent_dim=latent_dim, generator=generator)
        self.relevance_logits = nn.Parameter(logits, requires_grad=self.learned)

    def relevance(self) -> Tensor:
        """r = sigmoid(a), (latent_dim,), in [0, 1]."""
        return self.relevance_logits.sigmoid()


def initial_logits(config: RelevanceConfig, *, latent_dim: int, generator: Generator) -> Tensor:
    """ln(p / (1 - p)) of `initial`; a learned gate adds its spread over the dims and the jitter."""
    initial = torch.tensor(config.initial, dtype=torch.float64).expand(latent_dim)
    logits = initial.logit().float()
    if config.mode == "fixed":
        return logits
    spread = torch.linspace(config.initial_spread, -config.initial_spread, latent_dim)
    return logits + spread + JITTER * torch.randn(latent_dim, generator=generator)
