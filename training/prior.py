"""Priors over the code: N(0, 1), or the learned ones of Bayes-Factor VAE (arXiv 1909.02820).

Each dimension j of a Bayes-Factor VAE has a prior N(0, 1 / alpha_j):

    variance     BF-VAE-0, eq. 7-10: v_j = 1 / alpha_j is learned, and held near 1
    gamma        BF-VAE-1, eq. 14-21: alpha_j ~ Gamma(a_j, b_j) with learned a_j > 1, b_j = a_j - 1,
                 whose mode is at 1, and a posterior Gamma(a^_j, b^_j)
    gated-gamma  BF-VAE-2, eq. 22-23: the same with a_j from the relevance, near 1 (wide) for a
                 relevant dimension and large (all mass at alpha_j = 1) for a nuisance
"""

import torch
from torch import Generator, Tensor, nn

from training.networks import VAE
from training.objective import kl_per_dim

JITTER = 0.01  # the authors' start: 0.01 * randn
GATE_EPSILON = 0.001
Description = dict[str, list[float]]


def kl_to_variance(mu: Tensor, logvar: Tensor, *, prior_logvar: Tensor) -> Tensor:
    """KL(N(mu, s²) || N(0, v)) = (ln v - ln s² + (mu² + s²) / v - 1) / 2 (arXiv 1909.02820, eq. 8).

    Args:
        mu: (batch, latent_dim).
        logvar: (batch, latent_dim).
        prior_logvar: ln v, (latent_dim,).

    Returns:
        (batch, latent_dim), nats, >= 0.
    """
    spread = (mu.square() + logvar.exp()) * (-prior_logvar).exp()
    return 0.5 * (prior_logvar - logvar + spread - 1)


def variance_penalty(prior_logvar: Tensor) -> Tensor:
    """sum_j (v_j - 1)² (arXiv 1909.02820, eq. 10); (latent_dim,) -> scalar."""
    return (prior_logvar.exp() - 1).square().sum()


def expected_kl(mu: Tensor, logvar: Tensor, *, shape: Tensor, rate: Tensor) -> Tensor:
    """E[KL(N(mu, s²) || N(0, 1 / alpha))] for alpha ~ Gamma(shape, rate).

    = ((shape / rate) (mu² + s²) - 1 + ln rate - digamma(shape) - ln s²) / 2
    (arXiv 1909.02820, eq. 19).

    Args:
        mu: (batch, latent_dim).
        logvar: (batch, latent_dim).
        shape: a^, (latent_dim,), > 0.
        rate: b^, (latent_dim,), > 0.

    Returns:
        (batch, latent_dim), nats, >= 0.
    """
    spread = shape / rate * (mu.square() + logvar.exp())
    return 0.5 * (spread - 1 + rate.log() - shape.digamma() - logvar)


def gamma_kl(shape: Tensor, rate: Tensor, *, prior_shape: Tensor, prior_rate: Tensor) -> Tensor:
    """KL(Gamma(shape, rate) || Gamma(prior_shape, prior_rate)) (arXiv 1909.02820, eq. 20).

    Args:
        shape: a^, (latent_dim,), > 0; `rate` b^, `prior_shape` a and `prior_rate` b likewise.

    Returns:
        (latent_dim,), nats, >= 0.
    """
    return (
        (shape - prior_shape) * shape.digamma()
        - shape.lgamma()
        + prior_shape.lgamma()
        + prior_shape * (rate.log() - prior_rate.log())
        + shape / rate * (prior_rate - rate)
    )


def gated_shape(relevance: Tensor) -> Tensor:
    """a = (1 + 2 e) / (r + e), e = 0.001: 1.001 at r = 1 and 1002 at r = 0 (arXiv 1909.02820).

    Args:
        relevance: r, (latent_dim,), in [0, 1].

    Returns:
        (latent_dim,), > 1.
    """
    return (1 + 2 * GATE_EPSILON) / (relevance + GATE_EPSILON)


class StandardPrior(nn.Module):
    """N(0, 1), with nothing to learn."""

    def kl_per_dim(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """KL of the posteriors, (batch, latent_dim), nats."""
        return kl_per_dim(mu, logvar)

    def loss(self, relevance: Tensor, *, n_images: int) -> Tensor:
        """What the prior itself costs, scalar."""
        return torch.zeros((), device=relevance.device)

    def description(self) -> Description:
        """What was learned about each dimension."""
        return {}

    def precision(self) -> Tensor | None:
        """alpha_j, (latent_dim,), as far as the posterior knows it; None where it is 1."""
        return None

    @torch.no_grad()
    def fold_into(self, vae: VAE) -> None:
        """Give the code the unit of its prior's standard deviation, in the layers on its two sides.

        Reconstructions stay as they are, and N(0, 1) becomes the prior: what counts nats or
        variances of the code then needs to know of no other. Of `expected_kl` only what is the same
        for all images, (ln a^ - digamma(a^)) / 2, is not in the KL to N(0, 1).
        """
        precision = self.precision()
        if precision is None:
            return
        scale = precision.sqrt()  # (latent_dim,)
        head, first = vae.mu_head(), vae.decoder_input()
        head.weight[: vae.latent_dim] *= scale.unsqueeze(1)
        head.bias[: vae.latent_dim] *= scale
        head.bias[vae.latent_dim :] += precision.log()
        first.weight /= scale


class VariancePrior(StandardPrior):
    """N(0, v_j) with learned v_j (BF-VAE-0)."""

    def __init__(self, latent_dim: int, *, generator: Generator) -> None:
        super().__init__()
        start = 2 * JITTER * torch.randn(latent_dim, generator=generator)
        self.logvar = nn.Parameter(start)  # ln v

    def kl_per_dim(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """`kl_to_variance`."""
        return kl_to_variance(mu, logvar, prior_logvar=self.logvar)

    def loss(self, relevance: Tensor, *, n_images: int) -> Tensor:
        """`variance_penalty`."""
        return variance_penalty(self.logvar)

    def description(self) -> Description:
        """v_j: far from 1 for a relevant dimension."""
        return {"variance": self.logvar.detach().exp().tolist()}

    def precision(self) -> Tensor:
        """1 / v_j."""
        return (-self.logvar).exp()


class GammaPrior(StandardPrior):
    """N(0, 1 / alpha_j) with a Gamma over alpha_j whose shape is learned (BF-VAE-1)."""

    def __init__(self, latent_dim: int, *, generator: Generator) -> None:
        super().__init__()
        starts = JITTER * torch.randn(3, latent_dim, generator=generator)
        self.log_shape = nn.Parameter(starts[0])  # ln a^
        self.log_rate = nn.Parameter(starts[1])  # ln b^
        self.log_prior_rate = nn.Parameter(starts[2])  # ln b = ln(a - 1)

    def prior_shape(self, relevance: Tensor) -> Tensor:
        """a, (latent_dim,), > 1."""
        return 1 + self.log_prior_rate.exp()

    def kl_per_dim(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """`expected_kl`."""
        shape, rate = self.log_shape.exp(), self.log_rate.exp()
        return expected_kl(mu, logvar, shape=shape, rate=rate)

    def loss(self, relevance: Tensor, *, n_images: int) -> Tensor:
        """The KL of alpha's posterior, shared by all images: divided by their number."""
        shape, prior_shape = self.log_shape.exp(), self.prior_shape(relevance)
        kl = gamma_kl(
            shape, self.log_rate.exp(), prior_shape=prior_shape, prior_rate=prior_shape - 1
        )
        return kl.sum() / n_images

    def description(self) -> Description:
        """Student's degrees of freedom 2 a^: few for a relevant dimension; and E[alpha]."""
        degrees = 2 * self.log_shape.detach().exp()
        precision = self.precision().detach()
        return {"degrees_of_freedom": degrees.tolist(), "precision": precision.tolist()}

    def precision(self) -> Tensor:
        """E[alpha_j] = a^ / b^."""
        return (self.log_shape - self.log_rate).exp()


class GatedGammaPrior(GammaPrior):
    """The same with the shape that the relevance asks for (BF-VAE-2)."""

    def __init__(self, latent_dim: int, *, generator: Generator) -> None:
        super().__init__(latent_dim, generator=generator)
        del self.log_prior_rate

    def prior_shape(self, relevance: Tensor) -> Tensor:
        """`gated_shape`."""
        return gated_shape(relevance)


def make_prior(name: str, *, latent_dim: int, generator: Generator) -> StandardPrior:
    """The prior that `objective.prior` names."""
    if name == "standard":
        return StandardPrior()
    learned = {"variance": VariancePrior, "gamma": GammaPrior, "gated-gamma": GatedGammaPrior}
    return learned[name](latent_dim, generator=generator)
