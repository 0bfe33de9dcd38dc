"""The objective of RF-VAE, one pure function a term, in nats (Kim et al., arXiv 1902.01568).

Every term is minimized with a plus sign:

    loss = reconstruction + sum_j kl_weight_j KL_j + tc_weight TC(r * z)
         + sparsity_weight sum_j r_j + entropy_weight H(r)

The whole family are settings of it. With the relevance fixed to ones and both KL weights equal:

    VAE, beta-VAE   `tc_weight` 0, KL weights 1, or beta; with `capacity`: beta |KL - C|
    FactorVAE       `tc_weight` > 0, KL weights 1
    beta-TCVAE      the same with `tc_estimator` minibatch and `tc_weight` beta - 1
    BF-VAE-0, -1    FactorVAE with the prior `variance` or `gamma` (`training/prior.py`)

RF-VAE learns the relevance, RF-VAE-0 fixes it to a mask, BF-VAE-2 learns it with KL weights 1 and
the prior `gated-gamma`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Weights:
    """The weights of the terms at one step."""

    kl_weight_min: float
    kl_weight_max: float
    tc_weight: float
    sparsity_weight: float
    entropy_weight: float
    prior_weight: float = 1.0
    capacity: float | None = None  # nats


def reparameterize(mu: Tensor, logvar: Tensor, *, eps: Tensor) -> Tensor:
    """z = mu + exp(logvar / 2) eps with eps ~ N(0, 1) (arXiv 1312.6114, section 2.4).

    Args:
        mu: (batch, latent_dim).
        logvar: (batch, latent_dim), ln of the variance.
        eps: (batch, latent_dim).
    """
    return mu + (0.5 * logvar).exp() * eps  # (batch, latent_dim)


def bernoulli_reconstruction(logits: Tensor, images: Tensor) -> Tensor:
    """-ln p(x | z) = -sum_pixels [x ln s(l) + (1 - x) ln(1 - s(l))], s the logistic function.

    Args:
        logits: (batch, channels, height, width).
        images: Same shape, in [0, 1].

    Returns:
        (batch,), nats per image, >= 0 for binary images.
    """
    assert logits.shape == images.shape
    losses = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
    return losses.flatten(1).sum(dim=1)  # (batch,)


def gaussian_reconstruction(mean: Tensor, images: Tensor, *, log_scale: Tensor) -> Tensor:
    """-ln p(x | z) = sum_pixels [(x - m)² / (2 s²) + ln s], for x ~ N(m, s²).

    The constant ln(2 pi) / 2 of each pixel is left out; at s = 1 this is half the squared error.

    Args:
        mean: m, (batch, *image_shape).
        images: Same shape; pixels, or a vector's columns.
        log_scale: ln s, scalar: one standard deviation for all (arXiv 2006.13202, eq. 4).

    Returns:
        (batch,), nats per image.
    """
    assert mean.shape == images.shape
    errors = ((images - mean) * (-log_scale).exp()).square()
    return (0.5 * errors + log_scale).flatten(1).sum(dim=1)  # (batch,)


def kl_per_dim(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, s²) || N(0, 1)) = (mu² + s² - ln s² - 1) / 2 (arXiv 1312.6114, appendix B).

    Args:
        mu: (batch, latent_dim).
        logvar: (batch, latent_dim).

    Returns:
        (batch, latent_dim), nats, >= 0.
    """
    assert mu.shape == logvar.shape
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


def kl_weights(relevance: Tensor, *, kl_weight_min: float, kl_weight_max: float) -> Tensor:
    """kl_weight_j = max - (max - min) r_j: from max at r = 0 down to min at r = 1.

    Args:
        relevance: (latent_dim,), in [0, 1].
        kl_weight_min: Weight of a fully relevant dimension.
        kl_weight_max: Weight of an irrelevant one.

    Returns:
        (latent_dim,), no unit (arXiv 1902.01568, the function lambda(r)).
    """
    return kl_weight_max - (kl_weight_max - kl_weight_min) * relevance


def weighted_kl(kl: Tensor, weights: Tensor) -> Tensor:
    """sum_j weight_j mean_i KL_ij: one weight a dimension, mean over the batch.

    Args:
        kl: (batch, latent_dim), nats.
        weights: (latent_dim,).

    Returns:
        Scalar, nats (arXiv 1902.01568).
    """
    assert kl.ndim == 2
    assert weights.shape == kl.shape[1:]
    return (weights * kl.mean(dim=0)).sum()


def density_ratio_tc(logits: Tensor) -> Tensor:
    """TC = mean_i [D_0 - D_1]: ln of joint over product of marginals (arXiv 1802.05983, eq. 3).

    Args:
        logits: (batch, 2), the discriminator's answer to relevance * z.

    Returns:
        Scalar, nats; the estimate may be below 0.
    """
    assert logits.ndim == 2
    assert logits.shape[1] == 2
    return (logits[:, 0] - logits[:, 1]).mean()


def sparsity(relevance: Tensor) -> Tensor:
    """sum_j r_j, which is |r|_1 as r >= 0 (arXiv 1902.01568); (latent_dim,) -> scalar."""
    return relevance.sum()


def relevance_entropy(relevance_logits: Tensor) -> Tensor:
    """H = -sum_j [r ln r + (1 - r) ln(1 - r)], r = s(a), minimized so that r leaves 0.5.

    With b = |a| this is softplus(-b) + b s(-b): no difference of large numbers, and the gradient
    -a r (1 - r) flows through both places where r stands.

    Args:
        relevance_logits: a, (latent_dim,).

    Returns:
        Scalar in [0, latent_dim ln 2], nats (arXiv 1902.01568).
    """
    size = relevance_logits.abs()
    return (F.softplus(-size) + size * torch.sigmoid(-size)).sum()


def permute_dims(z: Tensor, *, generator: Generator) -> Tensor:
    """Permute each column on its own over the batch (arXiv 1802.05983, algorithm 1).

    Args:
        z: (batch, latent_dim).
        generator: Source of the permutations, on the device of `z`.

    Returns:
        (batch, latent_dim): samples of the product of the marginals.
    """
    order = torch.rand(z.shape, generator=generator, device=z.device).argsort(dim=0)
    return z.gather(0, order)  # (batch, latent_dim)


def discriminator_loss(joint_logits: Tensor, permuted_logits: Tensor) -> Tensor:
    """[CE(D(joint), class 0) + CE(D(permuted), class 1)] / 2 (arXiv 1802.05983, algorithm 2).

    Args:
        joint_logits: (batch, 2).
        permuted_logits: (batch, 2).

    Returns:
        Scalar, nats; ln 2 for a discriminator that sees no difference.
    """
    joint = F.log_softmax(joint_logits, dim=1)[:, 0]
    permuted = F.log_softmax(permuted_logits, dim=1)[:, 1]
    return -0.5 * (joint.mean() + permuted.mean())


def elbo(reconstruction: Tensor, kl: Tensor) -> Tensor:
    """ln p(x | z) - sum_j KL_j, with KL weights of 1 (arXiv 1312.6114, eq. 3).

    Args:
        reconstruction: (batch,), nats.
        kl: (batch, latent_dim), nats.

    Returns:
        (batch,), nats per image.
    """
    return -(reconstruction + kl.sum(dim=1))


@dataclass(frozen=True)
class Terms:
    """The terms of one batch before their weights; scalars are tensors, in nats."""

    reconstruction: Tensor
    kl_per_dim: Tensor  # (batch, latent_dim)
    kl_weights: Tensor  # (latent_dim,)
    total_correlation: Tensor
    sparsity: Tensor
    relevance_entropy: Tensor
    prior: Tensor | float = 0.0  # what a learned prior costs

    def weighted_kl(self, capacity: float | None = None) -> Tensor:
        """The KL term as the loss has it."""
        kl = weighted_kl(self.kl_per_dim, self.kl_weights)
        if capacity is None:
            return kl
        return (kl - capacity * self.kl_weights.mean()).abs()  # (arXiv 1804.03599, eq. 8)

    def loss(self, weights: Weights) -> Tensor:
        """The whole objective; scalar."""
        return (
            self.reconstruction
            + self.weighted_kl(weights.capacity)
            + weights.prior_weight * self.prior
            + weights.tc_weight * self.total_correlation
            + weights.sparsity_weight * self.sparsity
            + weights.entropy_weight * self.relevance_entropy
        )
