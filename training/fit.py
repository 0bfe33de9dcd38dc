"""The training loop: a VAE step, then a discriminator step on an independent batch.

The order matters (arXiv 1802.05983, algorithm 2): the discriminator is frozen while the VAE steps,
and sees codes encoded without gradient afterwards, so neither gets the other's gradient.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from training.config import Config
from training.data import ImageSource
from training.errors import DivergedError
from training.objective import (
    Terms,
    Weights,
    bernoulli_reconstruction,
    density_ratio_tc,
    discriminator_loss,
    kl_per_dim,
    kl_weights,
    permute_dims,
    relevance_entropy,
    reparameterize,
    sparsity,
)
from training.schedules import is_always_zero, schedule_value
from training.state import TrainingState, all_finite, build_state

SCALARS = (
    "loss",
    "reconstruction",
    "kl",
    "weighted_kl",
    "total_correlation",
    "sparsity",
    "relevance_entropy",
    "discriminator_loss",
)

Record = dict[str, Any]


@dataclass(frozen=True)
class Hooks:
    """What the loop calls: at each log step, after each step, and before each step to ask."""

    stepped: Callable[[int], None] = lambda step: None
    logged: Callable[[Record], None] = lambda record: None
    should_stop: Callable[[], bool] = lambda: False


def new_state(
    config: Config, image_shape: tuple[int, int, int], *, device: torch.device
) -> TrainingState:
    """A fresh state that can add up the loop's terms."""
    n_terms = len(SCALARS) + config.model.latent_dim
    return build_state(config, image_shape, device=device, n_terms=n_terms)


def fit(state: TrainingState, images: ImageSource, *, config: Config, hooks: Hooks) -> None:
    """Train from `state.step` up to `run.steps`, or until `hooks.should_stop()`.

    Raises:
        DivergedError: At a log step, when the loss is no longer finite.
    """
    while state.step < config.run.steps and not hooks.should_stop():
        train_step(state, images, config=config)
        if state.step % config.run.log_every == 0 or state.step == config.run.steps:
            hooks.logged(_take_record(state, config))
        hooks.stepped(state.step)


def train_step(state: TrainingState, images: ImageSource, *, config: Config) -> None:
    """One step of VAE and gate, then one of the discriminator; adds the terms to `state.sums`."""
    weights = weights_at(config, state.step)
    terms, codes = vae_step(state, images, config=config, weights=weights)
    critic_loss = torch.zeros((), device=state.device)
    if uses_discriminator(config):
        if config.discriminator.second_batch:
            with torch.no_grad():
                codes = state.vae.encode(_draw(state, images, config))
        state.history.append(*codes)
        critic_loss = discriminator_step(state, config=config)
    _add_up(state, terms, weights=weights, critic_loss=critic_loss)
    state.step += 1


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
    )


def uses_discriminator(config: Config) -> bool:
    """VAE and beta-VAE never look at the total correlation, so they train no discriminator."""
    return not is_always_zero(config.objective.tc_weight)


def compute_terms(
    state: TrainingState, batch: Tensor, *, weights: Weights, with_tc: bool
) -> tuple[Terms, tuple[Tensor, Tensor]]:
    """The objective's terms for a batch of images, and the (mu, logvar) they came from."""
    mu, logvar = state.vae.encode(batch)
    mu = state.rotation.turn(mu)  # (batch, latent_dim)
    z = reparameterize(mu, logvar, generator=state.generators["noise"])  # (batch, latent_dim)
    logits = state.vae.decode_logits(
        state.rotation.turn_back(z)
    )  # (batch, channels, height, width)
    relevance, zero = state.gate.relevance(), torch.zeros((), device=mu.device)
    learned = state.gate.learned
    terms = Terms(
        reconstruction=bernoulli_reconstruction(logits, batch).mean(),
        kl_per_dim=kl_per_dim(mu, logvar),
        kl_weights=kl_weights(
            relevance,
            kl_weight_min=weights.kl_weight_min,
            kl_weight_max=weights.kl_weight_max,
        ),
        total_correlation=density_ratio_tc(state.discriminator(relevance * z)) if with_tc else zero,
        sparsity=sparsity(relevance) if learned else zero,
        relevance_entropy=relevance_entropy(state.gate.relevance_logits) if learned else zero,
    )
    return terms, (mu, logvar)


def _draw(state: TrainingState, images: ImageSource, config: Config) -> Tensor:
    """A batch of images drawn with replacement: the step alone decides it, not an epoch."""
    indices = torch.randint(
        images.n_images,
        (config.run.batch_size,),
        generator=state.generators["batches"],
        device=state.device,
    )
    return images.images(indices).contiguous(memory_format=torch.channels_last)


def vae_step(
    state: TrainingState, images: ImageSource, *, config: Config, weights: Weights
) -> tuple[Terms, tuple[Tensor, Tensor]]:
    """Step VAE and, once released, the gate; the discriminator only passes gradients on."""
    batch = _draw(state, images, config)  # (batch, channels, height, width)
    with _frozen(state.discriminator):
        terms, codes = compute_terms(
            state, batch, weights=weights, with_tc=uses_discriminator(config)
        )
        terms.loss(weights).backward()  # type: ignore[no-untyped-call]
    _step(state.optimizers["vae"], schedule_value(config.optimizer.learning_rate, state.step))
    _turn_axes(state, rate=schedule_value(config.optimizer.rotation_learning_rate, state.step))
    gate_optimizer = state.optimizers["relevance"]
    if state.gate.is_released(state.step):
        _step(gate_optimizer, schedule_value(config.relevance.learning_rate, state.step))
    gate_optimizer.zero_grad()
    return terms, codes


def _turn_axes(state: TrainingState, *, rate: float) -> None:
    if rate > 0:
        _step(state.optimizers["rotation"], rate)
        state.rotation.fold_into(state.vae)
    state.optimizers["rotation"].zero_grad()


def discriminator_step(state: TrainingState, *, config: Config) -> Tensor:
    """Learn to tell relevant codes from permuted ones; returns the loss, detached."""
    with torch.no_grad():
        mu, logvar = state.history.posteriors()  # (history * batch, latent_dim)
        z = reparameterize(mu, logvar, generator=state.generators["noise"])
        relevant_z = state.gate.relevance() * z  # (history * batch, latent_dim)
        permuted_z = permute_dims(relevant_z, generator=state.generators["permutations"])
    joint, permuted = state.discriminator(torch.cat([relevant_z, permuted_z])).chunk(2)
    loss = discriminator_loss(joint, permuted)
    loss.backward()  # type: ignore[no-untyped-call]
    rate = schedule_value(config.discriminator.learning_rate, state.step)
    _step(state.optimizers["discriminator"], rate)
    return loss.detach()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through the network and none is computed for its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _step(optimizer: Adam, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()


def _add_up(state: TrainingState, terms: Terms, *, weights: Weights, critic_loss: Tensor) -> None:
    """Add to the sums on the device, so that no step waits for a number to reach the host."""
    with torch.no_grad():
        kl = terms.kl_per_dim.mean(dim=0)  # (latent_dim,)
        scalars = (
            terms.loss(weights),
            terms.reconstruction,
            kl.sum(),
            terms.weighted_kl(),
            terms.total_correlation,
            terms.sparsity,
            terms.relevance_entropy,
            critic_loss,
        )
        state.sums += torch.cat([torch.stack(scalars), kl])  # (n_terms,)
    state.counts[0] += 1
    state.counts[1] = state.history.n_appended


def _take_record(state: TrainingState, config: Config) -> Record:
    """Means since the last record, with the gate as it stands; empties the sums."""
    require_finite(state)
    means = (state.sums / state.counts[0]).tolist()
    relevance = state.gate.relevance().detach()
    weights = weights_at(config, state.step)
    weights_by_dim = kl_weights(
        relevance, kl_weight_min=weights.kl_weight_min, kl_weight_max=weights.kl_weight_max
    )
    state.sums.zero_()
    state.counts[0] = 0
    return {
        "step": state.step,
        **dict(zip(SCALARS, means, strict=False)),
        "relevance": relevance.tolist(),
        "kl_per_dim": means[len(SCALARS) :],
        "kl_weights": weights_by_dim.tolist(),
        "weights": vars(weights),
    }


def require_finite(state: TrainingState) -> None:
    """Refuse to go on, or to save, once terms or weights are infinite or not a number.

    Raises:
        DivergedError: With what to change.
    """
    networks = (*state.vae.parameters(), *state.discriminator.parameters())
    if not all_finite((state.sums, *networks)):
        raise DivergedError(
            f"the loss must stay finite: at step {state.step} a term or a weight is infinite or "
            "not a number; lower `optimizer.learning_rate` or `discriminator.learning_rate`, or "
            "raise `objective.kl_weight_min`"
        )
