"""All that changes while a run goes on, and how it becomes plain tensors and comes back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim import Adam

from training.config import Config
from training.discriminator import CodeHistory, Discriminator, uses_tiles
from training.errors import CheckpointError
from training.gate_clock import GateClock
from training.networks import VAE, SampleShape, initialize, make_vae
from training.prior import StandardPrior, make_prior
from training.ranks import Ranks
from training.relevance import RelevanceGate
from training.rotation import LatentRotation

STREAMS = ("batches", "noise", "permutations")


@dataclass
class TrainingState:
    """Networks, gate, optimizers, randomness, recent codes and the step they belong to."""

    vae: VAE
    gate: RelevanceGate
    discriminator: Discriminator
    rotation: LatentRotation
    prior: StandardPrior
    optimizers: dict[str, Adam]
    generators: dict[str, Generator]
    history: CodeHistory
    clock: GateClock
    sums: Tensor  # (n_terms,), what was added up since the last log line
    counts: Tensor  # (2,), int64: steps in `sums`, batches ever put into the history
    step: int = 0
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def schedule_step(self) -> int:
        """The step that schedules are read at."""
        return self.clock.position(self.step)

    def noise(self, n_rows: int) -> Tensor:
        """N(0, 1), (n_rows, latent_dim); the same on every rank."""
        noise = torch.empty(n_rows, self.vae.latent_dim, device=self.device)
        return noise.normal_(generator=self.generators["noise"])

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.gate.relevance_logits.device


def build_state(
    config: Config, image_shape: SampleShape, *, device: torch.device, n_terms: int
) -> TrainingState:
    """A fresh state; `run.seed` alone decides its weights and its randomness."""
    seeds = [int(seed) for seed in np.random.SeedSequence(config.run.seed).generate_state(4)]
    start = Generator().manual_seed(seeds[0])
    model, scheme = config.model, config.model.initialization
    vae = make_vae(config, image_shape)
    discriminator = Discriminator(
        model.latent_dim,
        hidden_units=config.discriminator.hidden_units,
        hidden_layers=config.discriminator.hidden_layers,
        tiles=uses_tiles(config),
    )
    for network in (vae, discriminator):
        initialize(network, scheme=scheme, generator=start)
    gate = RelevanceGate(config.relevance, latent_dim=model.latent_dim, generator=start)
    prior = make_prior(config.objective.prior, latent_dim=model.latent_dim, generator=start)
    vae.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    history = CodeHistory(
        history=config.discriminator.history,
        batch_size=config.run.batch_size,
        latent_dim=model.latent_dim,
    )
    rotation = LatentRotation(model.latent_dim)
    networks = (vae, gate.to(device), discriminator.to(device), rotation.to(device))
    return TrainingState(
        *networks,
        prior=prior.to(device),
        optimizers=_build_optimizers(config, networks, prior),
        generators={
            name: Generator(device).manual_seed(seed)
            for name, seed in zip(STREAMS, seeds[1:], strict=True)
        },
        history=history.to(device),
        clock=GateClock(config.relevance, latent_dim=model.latent_dim, device=device),
        sums=torch.zeros(n_terms, device=device),
        counts=torch.zeros(2, dtype=torch.int64),
    )


def _build_optimizers(
    config: Config,
    networks: tuple[VAE, RelevanceGate, Discriminator, LatentRotation],
    prior: StandardPrior,
) -> dict[str, Adam]:
    """One Adam a network; that of the VAE also learns the prior, as the authors' does."""
    betas = {
        "vae": config.optimizer.betas,
        "relevance": (0.9, 0.999),
        "discriminator": config.discriminator.betas,
        "rotation": (0.9, 0.99),
    }
    optimizers = {}
    for (name, pair), network in zip(betas.items(), networks, strict=True):
        parameters = [*network.parameters(), *(prior.parameters() if name == "vae" else ())]
        optimizers[name] = Adam(parameters, betas=pair, fused=True)
        _start_moments(optimizers[name])
    return optimizers


def _start_moments(optimizer: Adam) -> None:
    """Create Adam's moments now, laid out like their parameter, so that a checkpoint can fill them.

    The fused step walks over raw memory: moments in another layout than the weights would be wrong.
    """
    for parameter in _parameters(optimizer):
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }


def _parameters(optimizer: Adam) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def state_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor of the state by name; they share memory with it, but for the generators'."""
    return {
        **_named("vae", state.vae),
        **_named("prior", state.prior),
        "relevance_logits": state.gate.relevance_logits.detach(),
        **_named("discriminator", state.discriminator),
        **dict(_moments(state.optimizers)),
        "history.mu": state.history.mu,
        "history.logvar": state.history.logvar,
        "gate_clock.kl": state.clock.kl,
        "gate_clock.silent": state.clock.silent,
        "gate_clock.numbers": state.clock.numbers,
        "log.sums": state.sums,
        "counts": state.counts,
        **{f"generator.{name}": rng.get_state() for name, rng in state.generators.items()},
    }


def _named(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in network.state_dict().items()}


def _moments(optimizers: dict[str, Adam]) -> Iterator[tuple[str, Tensor]]:
    for name, optimizer in optimizers.items():
        for number, parameter in enumerate(_parameters(optimizer)):
            for key, tensor in optimizer.state[parameter].items():
                yield f"optimizer.{name}.{number}.{key}", tensor


def restore_state(state: TrainingState, tensors: dict[str, Tensor], *, step: int) -> None:
    """Fill `state` in place from `state_tensors` of the same configuration.

    Generators of another kind of device have no state to take over: they start anew, from seed and
    step, so that no draw is made twice.

    Raises:
        CheckpointError: A tensor is missing or of another shape.
    """
    own = state_tensors(state)
    for name, generator in state.generators.items():
        found = tensors.get(f"generator.{name}")
        if found is not None and found.shape != own[f"generator.{name}"].shape:
            words = np.random.SeedSequence([generator.initial_seed(), step]).generate_state(1)
            generator.manual_seed(int(words[0]))
            tensors = {**tensors, f"generator.{name}": generator.get_state()}
    check_tensors(own, tensors)
    with torch.no_grad():
        for name, tensor in own.items():
            if not name.startswith("generator."):
                tensor.copy_(tensors[name])
    for name, generator in state.generators.items():
        generator.set_state(tensors[f"generator.{name}"].cpu())
    state.history.n_appended = int(state.counts[1])
    state.step = step


def check_tensors(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise a `CheckpointError` unless `found` has all names of `wanted`, with the same shapes."""
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise CheckpointError(
            f"the checkpoint has no tensor `{missing[0]}` ({len(missing)} missing)"
        )
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise CheckpointError(
                f"the checkpoint's `{name}` has the shape {tuple(found[name].shape)}, and its "
                f"configuration asks for {tuple(tensor.shape)}"
            )


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds an infinite value or a NaN."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
