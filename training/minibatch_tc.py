"""The total correlation of beta-TCVAE, estimated from the batch itself, with no discriminator."""

import math

import torch
from torch import Tensor


def minibatch_tc(z: Tensor, mu: Tensor, logvar: Tensor, *, mask: Tensor, n_images: int) -> Tensor:
    """TC by minibatch weighted sampling (arXiv 1802.04942, section 3.1 and appendix C.1).

    mean_i [ln q(z_i) - sum_d ln q(z_id)], with q(z) = sum_k N(z; mu_k, s²_k) / (n_images batch).
    Biased, but for a constant, by the batch's share of the images.

    Args:
        z: (batch, latent_dim), samples.
        mu: (batch, latent_dim), of the posteriors that they came from; `logvar` likewise.
        mask: (latent_dim,), which dimensions count: a total correlation does not change when a
            dimension is scaled, so a relevance between 0 and 1 would say nothing.
        n_images: Size of the training set.

    Returns:
        Scalar, nats.
    """
    z, mu, logvar = z[:, mask], mu[:, mask], logvar[:, mask]
    if z.shape[1] == 0:
        return torch.zeros((), device=z.device)
    errors = (z.unsqueeze(1) - mu).square() * (-logvar).exp()  # (batch, batch, n_kept)
    log_q = -0.5 * (errors + logvar + math.log(2 * math.pi))
    log_size = math.log(n_images * len(z))
    joint = log_q.sum(dim=2).logsumexp(dim=1) - log_size  # (batch,)
    marginals = (log_q.logsumexp(dim=1) - log_size).sum(dim=1)  # (batch,)
    return (joint - marginals).mean()
