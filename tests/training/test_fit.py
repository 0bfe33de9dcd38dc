"""The loop: who gets whose gradient, which settings equal which model, and exact repetition."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from training.config import Config
from training.data import ImageSource, open_images
from training.errors import DivergedError
from training.fit import (
    SCALARS,
    Hooks,
    Record,
    discriminator_step,
    fit,
    new_state,
    train_step,
    vae_step,
)
from training.likelihood import Gaussian
from training.objective import Terms
from training.state import TrainingState, state_tensors
from training.terms import Posteriors, compute_terms, weights_at

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]
ONES = {"mode": "fixed", "initial": 1}
UNWEIGHTED = {"kl_weight_min": 1, "kl_weight_max": 1}


def start(config: Config) -> tuple[TrainingState, ImageSource]:
    images = open_images(config.data)
    return new_state(config, images.image_shape, device=CPU), images


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())


def unchanged(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def records_of(config: Config) -> list[Record]:
    state, images = start(config)
    records: list[Record] = []
    fit(state, images, config=config, hooks=Hooks(logged=records.append))
    return records


def some_images(images: ImageSource) -> Tensor:
    return images.images(torch.arange(0, images.n_images, images.n_images // 6)[:6])


def terms_of(state: TrainingState, batch: Tensor, config: Config) -> tuple[Terms, Posteriors]:
    weights = weights_at(config, 0)
    return compute_terms(state, batch, config=config, weights=weights, n_images=1000)


def factor_vae_loss(state: TrainingState, images: Tensor, tc_weight: float) -> Tensor:
    """FactorVAE (arXiv 1802.05983, eq. 2) written on its own, with torch.distributions."""
    noise = torch.Generator()
    noise.set_state(state.generators["noise"].get_state())
    mu, logvar = state.vae.encode(images)
    posterior = Normal(mu, torch.exp(logvar / 2))
    z = mu + posterior.scale * torch.empty_like(mu).normal_(generator=noise)
    likelihood = Bernoulli(logits=state.vae.decode_logits(z), validate_args=False)
    log_p = likelihood.log_prob(images).sum() / len(images)
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum() / len(images)
    ratio = F.log_softmax(state.discriminator(z), dim=1)
    return -log_p + kl + tc_weight * (ratio[:, 0] - ratio[:, 1]).mean()


class LinearVectors:
    """Rows x = W f + noise of three independent factors; the noise has the scale 0.1."""

    name, source, n_images, image_shape, factors = "linear", "procedural", 512, (6,), None

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(3)
        mixing = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q[:3]
        factors = torch.randn(512, 3, generator=rng) * torch.tensor([1.5, 1.0, 0.75])
        self.rows = factors @ mixing + 0.1 * torch.randn(512, 6, generator=rng)

    def sha256(self) -> str:
        return "0" * 64

    def images(self, indices: Tensor) -> Tensor:
        return self.rows[indices]


def test_vectors_are_learned_and_the_scale_follows_the_error(make_config: MakeConfig) -> None:
    config = make_config(
        objective={"likelihood": "gaussian", "likelihood_scale": "learned", "tc_weight": 1},
        optimizer={"learning_rate": 1e-2},
        run={"batch_size": 32, "steps": 150, "log_every": 50},
    )
    images = LinearVectors()
    state = new_state(config, images.image_shape, device=CPU)
    records: list[Record] = []
    fit(state, images, config=config, hooks=Hooks(logged=records.append))
    assert records[-1]["reconstruction"] < 0.6 * records[0]["reconstruction"]
    assert isinstance(state.vae.likelihood, Gaussian)
    with torch.no_grad():
        errors = images.rows - state.vae.decode(state.vae.encode(images.rows)[0])
        scale = float(state.vae.likelihood.log_scale.exp())
    assert scale == pytest.approx(float(errors.square().mean().sqrt()), rel=0.3)


@pytest.mark.parametrize("tc_weight", [0.0, 6.4])
def test_relevance_of_ones_with_unit_kl_weights_is_factor_vae_and_without_tc_vae(
    make_config: MakeConfig, tc_weight: float
) -> None:
    config = make_config(relevance=ONES, objective=UNWEIGHTED | {"tc_weight": tc_weight})
    state, images = start(config)
    batch = some_images(images)
    expected = factor_vae_loss(state, batch, tc_weight)
    expected_gradients = torch.autograd.grad(expected, list(state.vae.parameters()))
    weights = weights_at(config, 0)
    terms, _ = terms_of(state, batch, config)
    loss = terms.loss(weights)
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(loss, list(state.vae.parameters()))
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_beta_vae_weighs_every_kl_by_beta(make_config: MakeConfig) -> None:
    objective = {"kl_weight_min": 4, "kl_weight_max": 4, "tc_weight": 0}
    config = make_config(relevance=ONES, objective=objective)
    state, images = start(config)
    weights = weights_at(config, 0)
    terms, _ = terms_of(state, some_images(images), config)
    expected = terms.reconstruction + 4 * terms.kl_per_dim.sum(dim=1).mean()
    torch.testing.assert_close(terms.loss(weights), expected)


def test_fixed_mask_keeps_nuisance_dimensions_from_the_discriminator(
    make_config: MakeConfig,
) -> None:
    config = make_config(relevance={"mode": "fixed", "initial": [1, 0, 1, 0]})
    state, images = start(config)
    terms, _ = terms_of(state, some_images(images), config)
    torch.testing.assert_close(terms.kl_weights, torch.tensor([0.1, 10.0, 0.1, 10.0]))
    head = state.vae.encoder[-1].weight
    (gradient,) = torch.autograd.grad(terms.total_correlation, head)
    assert [bool(row.any()) for row in gradient[:4]] == [True, False, True, False]


def test_gate_feels_the_total_correlation(make_config: MakeConfig) -> None:
    """d TC / d a_j = r_j (1 - r_j) mean_i z_ij d(D_0 - D_1)_i / d(r z)_ij."""
    config = make_config(relevance={"initial_spread": 1.0})
    state, images = start(config)
    terms, codes = terms_of(state, some_images(images), config)
    (found,) = torch.autograd.grad(terms.total_correlation, state.gate.relevance_logits)
    relevance, z = state.gate.relevance().detach(), codes.z.detach()
    relevant_z = (relevance * z).requires_grad_()
    logits = state.discriminator(relevant_z)
    (slopes,) = torch.autograd.grad((logits[:, 0] - logits[:, 1]).mean(), relevant_z)
    wanted = relevance * (1 - relevance) * (z * slopes).sum(dim=0)  # (latent_dim,)
    assert bool((wanted != 0).all())
    torch.testing.assert_close(found, wanted)


def test_fixed_gate_has_no_sparsity_and_no_entropy_and_never_moves(
    make_config: MakeConfig,
) -> None:
    config = make_config(relevance={"mode": "fixed", "initial": [1, 0, 1, 0.5]})
    record = records_of(config)[-1]
    assert record["relevance"] == [1, 0, 1, 0.5]
    assert record["sparsity"] == record["relevance_entropy"] == 0
    assert record["weights"]["sparsity_weight"] == record["weights"]["entropy_weight"] == 0


def test_vae_step_leaves_the_discriminator_alone(make_config: MakeConfig) -> None:
    config = make_config(relevance={"frozen_steps": 0})
    state, images = start(config)
    discriminator, vae = snapshot(state.discriminator), snapshot(state.vae)
    gate = snapshot(state.gate)
    vae_step(state, images, config=config, weights=weights_at(config, 0))
    assert unchanged(state.discriminator, discriminator)
    assert all(p.grad is None and p.requires_grad for p in state.discriminator.parameters())
    assert not unchanged(state.vae, vae)
    assert not unchanged(state.gate, gate)


def test_vae_step_feels_the_discriminator(make_config: MakeConfig) -> None:
    steps = []
    for tc_weight in (0.001, 50.0):
        config = make_config(objective={"tc_weight": tc_weight})
        state, images = start(config)
        vae_step(state, images, config=config, weights=weights_at(config, 0))
        steps.append(state.vae.encoder[-1].weight.detach().clone())
    assert not torch.equal(steps[0], steps[1])


def test_discriminator_step_leaves_encoder_and_gate_alone(make_config: MakeConfig) -> None:
    config = make_config()
    state, images = start(config)
    train_step(state, images, config=config)
    before = snapshot(state.vae), snapshot(state.gate), snapshot(state.discriminator)
    discriminator_step(state, config=config)
    assert unchanged(state.vae, before[0])
    assert unchanged(state.gate, before[1])
    assert not unchanged(state.discriminator, before[2])
    gradients = [p.grad for p in (*state.vae.parameters(), *state.gate.parameters())]
    assert gradients == [None] * len(gradients)


def test_discriminator_learns_to_see_dependent_dimensions(make_config: MakeConfig) -> None:
    config = make_config(discriminator={"history": 1}, run={"batch_size": 256})
    state, _ = start(config)
    column = torch.linspace(-2, 2, 256).view(-1, 1).expand(256, 4)
    state.history.append(column, torch.full((256, 4), -4.0))
    losses = [float(discriminator_step(state, config=config)) for _ in range(200)]
    assert losses[-1] < min(0.45, losses[0] - 0.1)


@pytest.mark.parametrize("standardize", [True, False])
def test_standardized_discriminator_neither_moves_nor_stretches_codes(
    make_config: MakeConfig, standardize: bool
) -> None:
    config = make_config(discriminator={"history": 2, "standardize": standardize})
    state, images = start(config)
    for _ in range(2):
        train_step(state, images, config=config)
    batch = images.images(torch.arange(0, 4000, 200))
    terms, codes = compute_terms(
        state, batch, config=config, weights=weights_at(config, 2), n_images=images.n_images
    )
    (gradient,) = torch.autograd.grad(terms.total_correlation, codes.z)  # (batch, latent_dim)
    z = codes.z.detach()
    size = gradient.abs().sum(dim=0)
    felt = [gradient.sum(dim=0) / size, (gradient * (z - z.mean(dim=0))).sum(dim=0) / size]
    assert float(size.min()) > 0
    assert (float(torch.stack(felt).abs().max()) < 1e-4) is standardize


def test_second_batch_is_independent_and_encoded_after_the_vae_step(
    make_config: MakeConfig,
) -> None:
    config = make_config(discriminator={"history": 1})
    state, images = start(config)
    reference, _ = start(config)
    _, codes = vae_step(reference, images, config=config, weights=weights_at(config, 0))
    second = torch.randint(images.n_images, (4,), generator=reference.generators["batches"])
    expected, _ = reference.vae.encode(images.images(second))
    train_step(state, images, config=config)
    mu, _ = state.history.posteriors()
    torch.testing.assert_close(mu, expected.detach())
    assert not torch.allclose(mu, codes.mu)


def test_without_second_batch_the_discriminator_sees_the_vae_batch(
    make_config: MakeConfig,
) -> None:
    config = make_config(discriminator={"history": 1, "second_batch": False})
    state, images = start(config)
    reference, _ = start(config)
    _, codes = vae_step(reference, images, config=config, weights=weights_at(config, 0))
    train_step(state, images, config=config)
    torch.testing.assert_close(state.history.posteriors()[0], codes.mu.detach())


def test_history_grows_to_its_size(make_config: MakeConfig) -> None:
    config = make_config(discriminator={"history": 2})
    state, images = start(config)
    rows = []
    for _ in range(3):
        train_step(state, images, config=config)
        rows.append(len(state.history.posteriors()[0]))
    assert rows == [4, 8, 8]


def test_gate_waits_for_its_frozen_steps(make_config: MakeConfig) -> None:
    config = make_config(relevance={"frozen_steps": 2, "learning_rate": 0.1})
    state, images = start(config)
    relevances = [state.gate.relevance().detach()]
    for _ in range(3):
        train_step(state, images, config=config)
        relevances.append(state.gate.relevance().detach())
    assert torch.equal(relevances[0], relevances[2])
    assert float((relevances[3] - relevances[2]).abs().max()) > 0.02


def test_gate_that_waits_holds_all_schedules(make_config: MakeConfig) -> None:
    wait = {"frozen_steps": 1, "wait_steps": 25, "wait_kl": 1e6, "learning_rate": 0.1}
    config = make_config(relevance=wait, objective={"tc_weight": [[0, 1], [30, 31]]}, steps=30)
    state, images = start(config)
    weights, open_at = [], []
    for _ in range(28):
        weights.append(weights_at(config, state.schedule_step).tc_weight)
        open_at.append(state.clock.is_open(state.step))
        train_step(state, images, config=config)
    assert weights[:3] == [1, 2, 2]
    assert weights[24:] == [2, 2, 2, 3]
    assert open_at.index(True) == 26


def test_dimension_below_the_threshold_closes_for_good_once_the_gate_learns(
    make_config: MakeConfig,
) -> None:
    relevance = {"initial": [0.9, 0.005, 0.9], "frozen_steps": 2, "close_below": 0.01}
    config = make_config(model={"latent_dim": 3}, relevance=relevance)
    state, images = start(config)
    batch = some_images(images)
    for _ in range(2):
        train_step(state, images, config=config)
    assert (state.vae.encode(batch)[0] != 0).all()
    for _ in range(3):
        train_step(state, images, config=config)
    mu, logvar = state.vae.encode(batch)
    assert (mu[:, 1] == 0).all()
    assert (logvar[:, 1] == 0).all()
    assert (mu[:, [0, 2]] != 0).all()
    moved = mu.clone()
    moved[:, 1] += 3
    assert torch.equal(state.vae.decode(moved), state.vae.decode(mu))


def test_no_dimension_closes_unless_asked(make_config: MakeConfig) -> None:
    config = make_config(model={"latent_dim": 3}, relevance={"initial": [0.9, 1e-6, 0.9]})
    state, images = start(config)
    for _ in range(3):
        train_step(state, images, config=config)
    assert (state.vae.encode(some_images(images))[0] != 0).all()


def test_vae_without_total_correlation_trains_no_discriminator(make_config: MakeConfig) -> None:
    config = make_config(relevance=ONES, objective=UNWEIGHTED | {"tc_weight": 0})
    state, images = start(config)
    before = snapshot(state.discriminator)
    train_step(state, images, config=config)
    assert unchanged(state.discriminator, before)
    assert state.history.n_appended == 0


def test_learning_rate_schedules_reach_every_optimizer(make_config: MakeConfig) -> None:
    off_at_one: dict[str, Any] = {"learning_rate": [[0, 1e-3], [1, 0]]}
    relevance = off_at_one | {"frozen_steps": 0}
    config = make_config(optimizer=off_at_one, relevance=relevance, discriminator=off_at_one)
    state, images = start(config)
    networks = (state.vae, state.gate, state.discriminator)
    first = [snapshot(network) for network in networks]
    train_step(state, images, config=config)
    second = [snapshot(network) for network in networks]
    train_step(state, images, config=config)
    for network, before, after in zip(networks, first, second, strict=True):
        assert any(not torch.equal(before[name], after[name]) for name in before)
        assert unchanged(network, after)


def test_twenty_steps_lower_the_loss(make_config: MakeConfig) -> None:
    config = make_config(
        run={"steps": 20, "log_every": 1, "batch_size": 16}, optimizer={"learning_rate": 3e-3}
    )
    records = records_of(config)
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]


def test_records_hold_every_term_and_every_dimension(make_config: MakeConfig) -> None:
    records = records_of(make_config(objective={"tc_weight": [[0, 0], [8, 16]]}))
    assert [record["step"] for record in records] == [3, 6, 8]
    for record in records:
        assert set(SCALARS) < set(record)
        assert len(record["relevance"]) == len(record["kl_weights"]) == 4
        assert record["kl"] == pytest.approx(sum(record["kl_per_dim"]), rel=1e-5)
    assert records[-1]["weights"]["tc_weight"] == 16


def test_record_is_the_mean_since_the_last_one(make_config: MakeConfig) -> None:
    each = records_of(make_config(run={"log_every": 1, "steps": 6}))
    grouped = records_of(make_config(run={"log_every": 3, "steps": 6}))
    for start_at, record in zip((0, 3), grouped, strict=True):
        losses = [single["loss"] for single in each[start_at : start_at + 3]]
        assert record["loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(
    make_config: MakeConfig,
) -> None:
    finals = []
    for seed in (1, 1, 2):
        config = make_config(run={"seed": seed, "steps": 4})
        state, images = start(config)
        torch.manual_seed(len(finals))  # the global seed must not matter
        fit(state, images, config=config, hooks=Hooks())
        finals.append(state_tensors(state))
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])
    assert not torch.equal(finals[0]["vae.encoder.0.weight"], finals[2]["vae.encoder.0.weight"])


def test_fit_stops_when_asked(make_config: MakeConfig) -> None:
    config = make_config()
    state, images = start(config)
    hooks = Hooks(should_stop=lambda: state.step == 5)
    fit(state, images, config=config, hooks=hooks)
    assert state.step == 5


def test_fit_names_the_step_when_the_loss_diverges(make_config: MakeConfig) -> None:
    config = make_config(optimizer={"learning_rate": 1e30})
    state, images = start(config)
    with pytest.raises(
        DivergedError, match="at step 3 a term or a weight is infinite or not a num"
    ):
        fit(state, images, config=config, hooks=Hooks())


def test_channels_last_changes_no_result(make_config: MakeConfig) -> None:
    config = make_config()
    state, images = start(config)
    batch = some_images(images)
    assert state.vae.encoder[2].weight.is_contiguous(memory_format=torch.channels_last)
    plain = copy.deepcopy(state.vae).to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(
        plain.encode(batch)[0], state.vae.encode(batch)[0], rtol=1e-4, atol=1e-5
    )
