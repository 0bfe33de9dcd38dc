"""A model whose report is known in closed form, so that nothing has to be trained."""

import torch
from torch import nn

from training.data import GroundTruth
from training.likelihood import Bernoulli
from training.report import relevance_report

INFO = {
    "status": "finished",
    "code_version": "0.1.0",
    "torch_version": "2.13.0",
    "data": {"name": "four-pixels", "source": "procedural", "sha256": "0" * 64, "n_images": 400},
    "step": 8,
    "steps": 8,
    "seed": 1,
    "updated": "2026-01-02T03:04:05+00:00",
}


class FourPixels:
    """Images of 2 x 2 pixels: two free ones, their product, and a constant."""

    name, source = "four-pixels", "procedural"
    factors = GroundTruth(("a", "b"), (tuple(range(20)), tuple(range(20))))
    n_images, image_shape = 400, (1, 2, 2)

    def sha256(self):
        return "0" * 64

    def images(self, indices):
        a, b = (self.factors.factors_of(indices) / 19.0).unbind(dim=1)  # (batch,)
        flat = torch.stack([a, b, a * b, torch.full_like(a, 0.5)], dim=1)  # (batch, 4)
        return flat.view(-1, 1, 2, 2).float()


class KnownVAE(nn.Module):
    """mu = (0, 4b - 2, 0, 4a - 2) with posterior variance 0.1 where it moves and 1 where not."""

    latent_dim, image_shape = 4, (1, 2, 2)
    likelihood = Bernoulli()

    def encode(self, images):
        mu = torch.zeros(len(images), 4)
        mu[:, 3] = 4 * images[:, 0, 0, 0] - 2
        mu[:, 1] = 4 * images[:, 0, 0, 1] - 2
        variance = torch.tensor([1.0, 0.1, 1.0, 0.1])
        return mu, variance.log().expand(len(images), 4)

    def decode_logits(self, z):
        a, b = 2 * z[:, 3], 0.5 * z[:, 1]
        zero = torch.zeros_like(a)
        return torch.stack([a, b, zero, zero], dim=1).view(-1, 1, 2, 2)

    def decode(self, z):
        return self.decode_logits(z).sigmoid()


def known_report(relevance=(0.01, 0.99, 0.02, 0.97), **settings):
    settings = {"gate_votes": True, "run_info": INFO} | settings
    return relevance_report(KnownVAE(), FourPixels(), relevance=torch.tensor(relevance), **settings)
