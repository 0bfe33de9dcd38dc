"""Members of the family that must coincide do; each member runs as a configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.config import Config
from training.config_file import load_config, parse_config
from training.data import open_images
from training.errors import ConfigError
from training.fit import Hooks, Record, fit, new_state
from training.prior import GATE_EPSILON, GammaPrior, VariancePrior
from training.state import TrainingState
from training.terms import compute_terms, weights_at

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
MEMBERS = sorted((CONFIGS / "family").glob("*.toml"))
MakeConfig = Callable[..., Config]
ONES = {"mode": "fixed", "initial": 1}
VAE = {"kl_weight_min": 1, "kl_weight_max": 1, "tc_weight": 0}
FACTOR_VAE = VAE | {"tc_weight": 6.4}


def state_of(config: Config) -> TrainingState:
    return new_state(config, (1, 32, 32), device=torch.device("cpu"))


def loss_and_gradients(state: TrainingState, config: Config) -> tuple[Tensor, list[Tensor]]:
    """On the same images with the same noise, for the weights of step 0."""
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1)).round()
    state.generators["noise"].manual_seed(1)
    weights = weights_at(config, 0)
    terms, _ = compute_terms(state, images, config=config, weights=weights, n_images=1000)
    loss = terms.loss(weights)
    return loss.detach(), list(torch.autograd.grad(loss, list(state.vae.parameters())))


def assert_coincide(first: Config, second: Config, *, offset: float = 0.0) -> None:
    loss, gradients = loss_and_gradients(state_of(first), first)
    other_loss, others = loss_and_gradients(state_of(second), second)
    torch.testing.assert_close(loss + offset, other_loss)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


def test_beta_tcvae_without_weight_is_vae(make_config: MakeConfig) -> None:
    minibatch = VAE | {"tc_estimator": "minibatch"}
    assert_coincide(
        make_config(relevance=ONES, objective=VAE),
        make_config(relevance=ONES, objective=minibatch),
    )


def test_beta_tcvae_and_factor_vae_differ_only_in_their_estimate(make_config: MakeConfig) -> None:
    factor_vae = make_config(relevance=ONES, objective=FACTOR_VAE)
    beta_tcvae = make_config(relevance=ONES, objective=FACTOR_VAE | {"tc_estimator": "minibatch"})
    parts = []
    for config in (factor_vae, beta_tcvae):
        state = state_of(config)
        images = torch.zeros(6, 1, 32, 32)
        weights = weights_at(config, 0)
        terms, _ = compute_terms(state, images, config=config, weights=weights, n_images=1000)
        parts.append((terms.reconstruction, terms.weighted_kl()))
        assert float(terms.total_correlation.detach()) != 0
    assert parts[0] == parts[1]


def test_capacity_of_zero_is_beta_vae(make_config: MakeConfig) -> None:
    beta_vae = {"kl_weight_min": 4, "kl_weight_max": 4, "tc_weight": 0}
    assert_coincide(
        make_config(relevance=ONES, objective=beta_vae),
        make_config(relevance=ONES, objective=beta_vae | {"capacity": 0}),
    )


def test_capacity_above_the_kl_turns_its_sign(make_config: MakeConfig) -> None:
    beta = {"kl_weight_min": 4, "kl_weight_max": 4, "tc_weight": 0, "capacity": [[0, 25], [9, 30]]}
    config = make_config(relevance=ONES, objective=beta)
    state, weights = state_of(config), weights_at(config, 0)
    images = torch.zeros(2, 1, 32, 32)
    terms, _ = compute_terms(state, images, config=config, weights=weights, n_images=1000)
    kl = float(terms.kl_per_dim.sum(dim=1).mean().detach())
    assert kl < 25
    expected = float(terms.reconstruction.detach()) + 4 * (25 - kl)
    assert float(terms.loss(weights).detach()) == pytest.approx(expected)


def test_capacity_asks_for_one_kl_weight(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"got `kl_weight_min` = 0\.1 and `kl_weight_max` = 10"):
        make_config(objective={"capacity": 5})


def test_bf_vae_0_with_unit_variance_is_factor_vae(make_config: MakeConfig) -> None:
    factor_vae = make_config(relevance=ONES, objective=FACTOR_VAE)
    config = make_config(relevance=ONES, objective=FACTOR_VAE | {"prior": "variance"})
    state = state_of(config)
    assert isinstance(state.prior, VariancePrior)
    torch.nn.init.zeros_(state.prior.logvar)
    loss, gradients = loss_and_gradients(state, config)
    other_loss, others = loss_and_gradients(state_of(factor_vae), factor_vae)
    torch.testing.assert_close(loss, other_loss)
    torch.testing.assert_close(gradients[0], others[0])


def test_bf_vae_1_with_a_certain_precision_is_factor_vae(make_config: MakeConfig) -> None:
    """But for the KL of the precision itself, which `prior_weight` 0 leaves out."""
    factor_vae = make_config(relevance=ONES, objective=FACTOR_VAE)
    certain = FACTOR_VAE | {"prior": "gamma", "prior_weight": 0}
    config = make_config(relevance=ONES, objective=certain)
    state = state_of(config)
    assert isinstance(state.prior, GammaPrior)
    torch.nn.init.constant_(state.prior.log_shape, 12)
    torch.nn.init.constant_(state.prior.log_rate, 12)
    loss, gradients = loss_and_gradients(state, config)
    other_loss, others = loss_and_gradients(state_of(factor_vae), factor_vae)
    torch.testing.assert_close(loss, other_loss)
    torch.testing.assert_close(gradients[0], others[0], rtol=1e-3, atol=1e-4)


def test_bf_vae_2_with_relevance_one_is_bf_vae_1_with_that_shape(make_config: MakeConfig) -> None:
    losses = []
    for name in ("gamma", "gated-gamma"):
        config = make_config(relevance=ONES, objective=FACTOR_VAE | {"prior": name})
        state = state_of(config)
        assert isinstance(state.prior, GammaPrior)
        with torch.no_grad():
            state.prior.log_shape.fill_(0.3)
            state.prior.log_rate.fill_(0.2)
            if name == "gamma":
                prior_rate = torch.tensor(GATE_EPSILON / (1 + GATE_EPSILON))
                state.prior.log_prior_rate.fill_(float(prior_rate.log()))
        losses.append(loss_and_gradients(state, config)[0])
    torch.testing.assert_close(losses[0], losses[1])


def test_rf_vae_0_is_rf_vae_at_that_relevance_without_its_two_penalties(
    make_config: MakeConfig,
) -> None:
    unpenalized = {"sparsity_weight": 0, "entropy_weight": 0}
    mask = [0.9, 0.1, 0.9, 0.1]
    fixed = make_config(relevance={"mode": "fixed", "initial": mask})
    learned = make_config(relevance={"initial": mask}, objective=unpenalized)
    first, second = state_of(fixed), state_of(learned)
    with torch.no_grad():
        second.gate.relevance_logits.copy_(first.gate.relevance_logits)
    loss, _ = loss_and_gradients(first, fixed)
    other_loss, _ = loss_and_gradients(second, learned)
    torch.testing.assert_close(loss, other_loss)


@pytest.mark.parametrize("prior", ["variance", "gamma", "gated-gamma"])
def test_learned_prior_is_trained_recorded_and_turned_with_the_axes(
    make_config: MakeConfig, prior: str
) -> None:
    config = make_config(
        objective={"prior": prior, "kl_weight_min": 1, "kl_weight_max": 1},
        optimizer={"learning_rate": 1e-3, "rotation_learning_rate": 1e-2},
        run={"steps": 4, "log_every": 4},
    )
    images = open_images(config.data)
    state = state_of(config)
    before = [parameter.detach().clone() for parameter in state.prior.parameters()]
    records: list[Record] = []
    fit(state, images, config=config, hooks=Hooks(logged=records.append))
    for parameter, former in zip(state.prior.parameters(), before, strict=True):
        assert not torch.equal(parameter, former)
    assert records[0]["prior"]["loss"] > 0
    assert {len(values) for key, values in records[0]["prior"].items() if key != "loss"} == {4}


def test_minibatch_estimator_refuses_a_learned_relevance() -> None:
    with pytest.raises(ConfigError, match=r"a mask of 0 and 1: got learned, 0\.5; a total"):
        parse_config({"objective": {"tc_estimator": "minibatch"}}, origin="test")


@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: path.stem)
def test_member_of_the_family_takes_a_step(path: Path) -> None:
    small = ["data.size=32", "run.steps=1", "run.batch_size=2", "run.device=cpu", "run.threads=1"]
    config = load_config(path, [*small, "discriminator.hidden_units=8"])
    records: list[Record] = []
    state = state_of(config)
    fit(state, open_images(config.data), config=config, hooks=Hooks(logged=records.append))
    assert records[0]["step"] == 1


def test_family_has_every_member() -> None:
    assert sorted(path.stem for path in MEMBERS) == [
        "beta-tcvae",
        "beta-vae",
        "beta-vae-capacity",
        "bf-vae-0",
        "bf-vae-1",
        "bf-vae-2",
        "factor-vae",
        "rf-vae",
        "rf-vae-0",
        "vae",
    ]
