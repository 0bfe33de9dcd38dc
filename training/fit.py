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
from training.networks import SampleShape
from training.objective import (
    Terms,
    Weights,
    discriminator_loss,
    kl_weights,
    permute_dims,
    reparameterize,
)
from training.schedules import schedule_value
from training.state import TrainingState, all_finite, build_state
from training.terms import (
    Posteriors,
    compute_terms,
    discriminate,
    encode,
    uses_discriminator,
    weights_at,
)

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


def new_state(config: Config, image_shape: SampleShape, *, device: torch.device) -> TrainingState:
    """A fresh state that can add up the loop's terms."""
    n_terms = len(SCALARS) + config.model.latent_dim + (config.objective.prior != "standard")
    return build_state(config, image_shape, device=device, n_terms=n_terms)


def fit(state: TrainingState, images: ImageSource, *, config: Config, hooks: Hooks) -> None:
    """Train from `state.step` up to `run.steps`, or until `hooks.should_stop()`.

    Raises:
        DivergedError: At a log step, when the loss is no longer finite.
    """
    while state.step < config.run.steps and not state.ranks.any(hooks.should_stop()):
        train_step(state, images, config=config)
        if state.step % config.run.log_every == 0 or state.step == config.run.steps:
            hooks.logged(_take_record(state, config))
        hooks.stepped(state.step)


def train_step(state: TrainingState, images: ImageSource, *, config: Config) -> None:
    """One step of VAE and gate, then one of the discriminator; adds the terms to `state.sums`."""
    weights = weights_at(config, state.schedule_step)
    terms, codes = vae_step(state, images, config=config, weights=weights)
    critic_loss = torch.zeros((), device=state.device)
    if uses_discriminator(config):
        if config.discriminator.second_batch:
            with torch.no_grad():
                mu, logvar = encode(state, _draw(state, images, config))
        else:
            mu, logvar = codes.mu, codes.logvar
        state.history.append(*(state.ranks.gather(part.detach()) for part in (mu, logvar)))
        critic_loss = discriminator_step(state, config=config)
    _add_up(state, terms, weights=weights, critic_loss=critic_loss)
    state.step += 1


def _draw(state: TrainingState, images: ImageSource, config: Config) -> Tensor:
    """A batch of images drawn with replacement: the step alone decides it, not an epoch."""
    indices = torch.randint(
        images.n_images,
        (config.run.batch_size,),
        generator=state.generators["batches"],
        device=state.device,
    )
    batch = images.images(state.ranks.own(indices))
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def vae_step(
    state: TrainingState, images: ImageSource, *, config: Config, weights: Weights
) -> tuple[Terms, Posteriors]:
    """Step VAE and, once released, the gate; the discriminator only passes gradients on."""
    batch = _draw(state, images, config)  # (batch, *image_shape)
    with _frozen(state.discriminator):
        terms, codes = compute_terms(
            state, batch, config=config, weights=weights, n_images=images.n_images
        )
        terms.loss(weights).backward()  # type: ignore[no-untyped-call]
    learning = (state.vae, state.prior, state.gate, state.rotation)
    state.ranks.average([p.grad for network in learning for p in network.parameters()])
    moment = state.schedule_step
    _step(state.optimizers["vae"], schedule_value(config.optimizer.learning_rate, moment))
    _turn_axes(state, rate=schedule_value(config.optimizer.rotation_learning_rate, moment))
    gate_optimizer = state.optimizers["relevance"]
    if state.clock.is_open(state.step):
        _step(gate_optimizer, schedule_value(config.relevance.learning_rate, moment))
        _close_dims(state, below=config.relevance.close_below)
    gate_optimizer.zero_grad()
    return terms, codes


def _turn_axes(state: TrainingState, *, rate: float) -> None:
    if rate > 0:
        _step(state.optimizers["rotation"], rate)
        state.rotation.fold_into(state.vae)
    state.optimizers["rotation"].zero_grad()


def _close_dims(state: TrainingState, *, below: float) -> None:
    """Take dimensions of next to no relevance out of the encoder's last and decoder's first layer.

    Pressed into the prior they would keep means of a hundredth or so: noise that no weight of the
    KL removes, and that looks like a factor to whoever divides it by its spread.
    """
    if below == 0:
        return
    with torch.no_grad():
        is_open = state.gate.relevance() >= below  # (latent_dim,)
        head = state.vae.mu_head()
        head.weight.mul_(is_open.repeat(2).unsqueeze(1))
        head.bias.mul_(is_open.repeat(2))
        state.vae.decoder_input().weight.mul_(is_open)


def discriminator_step(state: TrainingState, *, config: Config) -> Tensor:
    """Learn to tell relevant codes from permuted ones; returns the loss, detached."""
    with torch.no_grad():
        mu, logvar = state.history.posteriors()  # (history * batch, latent_dim)
        z = reparameterize(mu, logvar, eps=state.noise(len(mu)))
        if config.discriminator.standardize:
            z = state.history.standardize(z)
        relevant_z = state.gate.relevance() * z  # (history * batch, latent_dim)
        permuted_z = permute_dims(relevant_z, generator=state.generators["permutations"])
    own = torch.cat([state.ranks.own(relevant_z), state.ranks.own(permuted_z)])
    joint, permuted = discriminate(state, own).chunk(2)
    loss = discriminator_loss(joint, permuted)
    loss.backward()  # type: ignore[no-untyped-call]
    state.ranks.average([p.grad for p in state.discriminator.parameters()])
    rate = schedule_value(config.discriminator.learning_rate, state.schedule_step)
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
            terms.weighted_kl(weights.capacity),
            terms.total_correlation,
            terms.sparsity,
            terms.relevance_entropy,
            critic_loss,
        )
        parts = [torch.stack(scalars), kl]
        if len(state.sums) > len(scalars) + len(kl):
            parts.append(torch.as_tensor(terms.prior).view(1))
        step_terms = torch.cat(parts)  # (n_terms,)
        state.ranks.average([step_terms])
        state.sums += step_terms
        state.clock.observe(state.step, step_terms[len(scalars) : len(scalars) + len(kl)])
    state.counts[0] += 1
    state.counts[1] = state.history.n_appended


def _take_record(state: TrainingState, config: Config) -> Record:
    """Means since the last record, with the gate as it stands; empties the sums."""
    require_finite(state)
    means = (state.sums / state.counts[0]).tolist()
    relevance = state.gate.relevance().detach()
    weights = weights_at(config, state.schedule_step)
    weights_by_dim = kl_weights(
        relevance, kl_weight_min=weights.kl_weight_min, kl_weight_max=weights.kl_weight_max
    )
    state.sums.zero_()
    state.counts[0] = 0
    return {
        "step": state.step,
        "schedule_step": state.schedule_step,
        "gate_open": state.clock.is_open(state.step),
        **dict(zip(SCALARS, means, strict=False)),
        "relevance": relevance.tolist(),
        "kl_per_dim": means[len(SCALARS) :][: state.vae.latent_dim],
        "kl_weights": weights_by_dim.tolist(),
        "weights": vars(weights),
        **_prior_record(state, means),
    }


def _prior_record(state: TrainingState, means: list[float]) -> Record:
    """What a learned prior costs and what it has learned; nothing for N(0, 1)."""
    description = state.prior.description()
    return {"prior": {"loss": means[-1], **description}} if description else {}


def require_finite(state: TrainingState) -> None:
    """Refuse to go on, or to save, once terms or weights are infinite or not a number.

    Raises:
        DivergedError: With what to change.
    """
    networks = (
        *state.vae.parameters(),
        *state.prior.parameters(),
        *state.discriminator.parameters(),
    )
    if not all_finite((state.sums, *networks)):
        raise DivergedError(
            f"the loss must stay finite: at step {state.step} a term or a weight is infinite or "
            "not a number; lower `optimizer.learning_rate` or `discriminator.learning_rate`, or "
            "raise `objective.kl_weight_min`"
        )
