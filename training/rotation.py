"""Rotates the latent axes directly: a preconditioner for the flat direction of the objective.

Turning the code's mean and turning the decoder's input back leaves the reconstruction of every mean
as it is. What sees the turn is the noise between them, where its size differs by dimension (arXiv
1812.06775), the total correlation, and the KL where its weights differ. Gradient descent on the
weights takes that path very slowly: encoder and decoder must move together. Here each step takes
the gradient with respect to the turn itself, a skew-symmetric matrix, and folds the turn into the
two linear layers next to the code. The networks and the objective stay what they are; only the way
to the optimum is shorter.
"""

import torch
from torch import Tensor, nn

from training.networks import VAE


class LatentRotation(nn.Module):
    """Q = exp(K), K = S - S^T, with S (latent_dim, latent_dim) zero at the start of each step."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.generator = nn.Parameter(torch.zeros(latent_dim, latent_dim))

    def skew(self) -> Tensor:
        """K, (latent_dim, latent_dim)."""
        return self.generator - self.generator.T

    def turn(self, mu: Tensor) -> Tensor:
        """Q mu to first order, exact in value and gradient at S = 0; (batch, latent_dim)."""
        return mu + mu @ self.skew().T

    def turn_back(self, z: Tensor) -> Tensor:
        """Q^-1 z to first order, exact in value and gradient at S = 0; (batch, latent_dim)."""
        return z - z @ self.skew().T

    @torch.no_grad()
    def fold_into(self, vae: VAE) -> None:
        """Turn the encoder's rows for mu and the decoder's input columns by Q; S becomes 0."""
        turn = torch.linalg.matrix_exp(self.skew())  # (latent_dim, latent_dim)
        head, first = vae.mu_head(), vae.decoder_input()
        head.weight[: vae.latent_dim] = turn @ head.weight[: vae.latent_dim]
        head.bias[: vae.latent_dim] = turn @ head.bias[: vae.latent_dim]
        first.weight.copy_(first.weight @ turn.T)
        self.generator.zero_()
