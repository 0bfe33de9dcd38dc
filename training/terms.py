"""The objective's weights at a step and its terms for a batch, as a configuration asks for them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.config import Config
from training.discriminator import shape_only
from training.minibatch_tc import minibatch_tc
from training.objective import (
    Terms,
    Weights,
    density_ratio_tc,
    kl_weights,
    relevance_entropy,
    reparameterize,
    sparsity,
)
from training.schedules import is_always_zero, schedule_value
from training.state import TrainingState


def weights_at(config: Config, step: int) -> Weights:
    """The objective's weights at `step`; a fixed gate has no sparsity and no entropy term."""
    objective = config.objective
    learned = float(config.relevance.mode == "learned")
    return Weights(
        kl_weight_min=schedule_value(objective.kl_weight_min, step),
        kl_weight_max=schedule_value(objective.kl_weight_max, step),
        tc_weight=schedule_value(objective.tc_weight, step),
        sparsity_weight=learned * schedule_value(objective.sparsity_weight, step),
        entropy_weight=learned * schedule_value(objective.entropy_weight, step),
        prior_weight=schedule_value(objective.prior_weight, step),
        capacity=None if objective.capacity is None else schedule_value(objective.capacity, step),
    )


def uses_tc(config: Config) -> bool:
    """VAE and beta-VAE never look at the total correlation."""
    return not is_always_zero(config.objective.tc_weight)


def uses_discriminator(config: Config) -> bool:
    """Nobody trains a discriminator for a total correlation that nobody asks it for."""
    return uses_tc(config) and config.objective.tc_estimator == "discriminator"


@dataclass(frozen=True)
class Posteriors:
    """Of a batch of images, with a sample from each; (batch, latent_dim) each."""

    mu: Tensor
    logvar: Tensor
    z: Tensor


def encode(state: TrainingState, batch: Tensor) -> tuple[Tensor, Tensor]:
    """mu and logvar, (batch, latent_dim) each, computed in the run's precision."""
    with state.ranks.autocast():
        mu, logvar = state.vae.encode(batch)
    return _at_least_float(mu), _at_least_float(logvar)


def discriminate(state: TrainingState, z: Tensor) -> Tensor:
    """The discriminator's logits, (batch, 2), computed in the run's precision."""
    with state.ranks.autocast():
        logits = state.discriminator(z)
    return _at_least_float(logits)


def _at_least_float(values: Tensor) -> Tensor:
    """Losses and codes are sums of many small numbers: never in half precision."""
    return values.float() if values.dtype == torch.bfloat16 else values


def compute_terms(
    state: TrainingState, batch: Tensor, *, config: Config, weights: Weights, n_images: int
) -> tuple[Terms, Posteriors]:
    """The objective's terms for a batch of images, and the codes they came from.

    Args:
        state: Its networks, prior, gate and noise.
        batch: (batch, *image_shape).
        config: Which terms there are.
        weights: Of the step.
        n_images: Size of the training set, which some members of the family need.
    """
    mu, logvar = encode(state, batch)
    mu = state.rotation.turn(mu)  # (batch, latent_dim)
    eps = state.ranks.own(state.noise(len(batch) * state.ranks.size))  # (batch, latent_dim)
    z = reparameterize(mu, logvar, eps=eps)  # (batch, latent_dim)
    with state.ranks.autocast():
        output = state.vae.decode_logits(state.rotation.turn_back(z))
    reconstruction = state.vae.likelihood.reconstruction_loss(_at_least_float(output), batch)
    codes = Posteriors(mu, logvar, z)
    kl = state.prior.kl_per_dim(mu, logvar)
    if weights.capacity is not None:
        kl = state.ranks.gather(kl)  # The distance to the capacity is that of all ranks' mean.
    relevance, zero = state.gate.relevance(), torch.zeros((), device=mu.device)
    learned = state.gate.learned
    terms = Terms(
        reconstruction=reconstruction.mean(),
        kl_per_dim=kl,
        kl_weights=kl_weights(
            relevance,
            kl_weight_min=weights.kl_weight_min,
            kl_weight_max=weights.kl_weight_max,
        ),
        total_correlation=_total_correlation(
            state, codes, config=config, relevance=relevance, n_images=n_images
        ),
        sparsity=sparsity(relevance) if learned else zero,
        relevance_entropy=relevance_entropy(state.gate.relevance_logits) if learned else zero,
        prior=state.prior.loss(relevance, n_images=n_images),
    )
    return terms, codes


def _total_correlation(
    state: TrainingState, codes: Posteriors, *, config: Config, relevance: Tensor, n_images: int
) -> Tensor:
    if not uses_tc(config):
        return torch.zeros((), device=relevance.device)
    if uses_discriminator(config):
        z = codes.z
        if config.discriminator.standardize:
            shape = shape_only(state.ranks.gather(z))  # (all_rows, latent_dim)
            z = state.history.standardize(state.ranks.own(shape))
        return density_ratio_tc(discriminate(state, relevance * z))
    mask = relevance > 0.5  # (latent_dim,): a fixed 0 or 1
    z, mu, logvar = (state.ranks.gather(part) for part in (codes.z, codes.mu, codes.logvar))
    return minibatch_tc(z, mu, logvar, mask=mask, n_images=n_images)
