"""Mistakes that public implementations made and that no test of one file of ours would show.

Each test names where the mistake stood; the rest are in the tests of the objective, of the loop
and of checkpoints.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training import fit as fit_module
from training.checkpoint import read_checkpoint, restore, save_checkpoint
from training.config import Config
from training.data import ImageSource, open_images
from training.data.parts import Part
from training.encoding import encode_with_elbo
from training.fit import new_state, train_step
from training.networks import VAE
from training.objective import relevance_entropy
from training.state import TrainingState
from training.terms import compute_terms, weights_at

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]


def start(config: Config) -> tuple[TrainingState, ImageSource]:
    images = open_images(config.data)
    return new_state(config, images.image_shape, device=CPU), images


def test_no_weight_belongs_to_two_optimizers(make_config: MakeConfig) -> None:
    """AntixK/PyTorch-VAE: the discriminator's weights were in the VAE's optimizer too."""
    state, _ = start(make_config())
    owned = [
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in state.optimizers.values()
    ]
    assert all(not first & second for first, second in itertools.combinations(owned, 2))
    networks = (state.vae, state.gate, state.discriminator, state.rotation)
    assert {id(p) for network in networks for p in network.parameters()} == set().union(*owned)


def test_every_optimizer_gets_the_gradient_of_its_loss_once(make_config: MakeConfig) -> None:
    """ThomasMrY/RF-VAE: one loss was propagated back twice, with changed weights between."""
    config = make_config(relevance={"frozen_steps": 0})
    state, images = start(config)
    twin, _ = start(config)
    rows = torch.randint(images.n_images, (4,), generator=twin.generators["batches"])
    weights = weights_at(config, 0)
    terms, _ = compute_terms(
        twin, images.images(rows), config=config, weights=weights, n_images=images.n_images
    )
    loss = terms.loss(weights)
    wanted = torch.autograd.grad(loss, [*twin.vae.parameters(), twin.gate.relevance_logits])
    train_step(state, images, config=config)
    own = [*state.vae.parameters(), state.gate.relevance_logits]
    moments = state.optimizers["vae"].state | state.optimizers["relevance"].state
    for parameter, gradient in zip(own, wanted, strict=True):
        first_moment = moments[parameter]["exp_avg"]
        torch.testing.assert_close(first_moment, 0.1 * gradient, rtol=1e-3, atol=1e-6)
        assert moments[parameter]["step"] == 1
    critic = state.optimizers["discriminator"].state
    assert {int(moment["step"]) for moment in critic.values()} == {1}


def test_discriminator_cannot_tell_its_halves_by_their_scale(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dn070017/Variational-Autoencoders: only the joint half was multiplied by the relevance."""
    config = make_config(
        relevance={"mode": "fixed", "initial": [1, 0.5, 0.25, 0]}, run={"batch_size": 16}
    )
    state, images = start(config)
    seen: list[Tensor] = []

    def watch(state: TrainingState, z: Tensor) -> Tensor:
        seen.append(z.detach())
        return state.discriminator(z)

    monkeypatch.setattr(fit_module, "discriminate", watch)
    train_step(state, images, config=config)
    joint, permuted = seen[-1].chunk(2)
    torch.testing.assert_close(joint.sort(dim=0).values, permuted.sort(dim=0).values)
    assert not torch.equal(joint, permuted)
    assert not joint[:, 3].any()


def test_discriminator_answers_with_logits_and_not_with_probabilities(
    make_config: MakeConfig,
) -> None:
    """dn070017/Variational-Autoencoders: p_0 - p_1 stood for ln p_0 - ln p_1."""
    state, _ = start(make_config())
    logits = state.discriminator(1e4 * torch.eye(4)).detach()
    assert float((logits[:, 0] - logits[:, 1]).abs().max()) > 1
    assert not torch.allclose(logits.sum(dim=1), torch.ones(4))


def test_discriminator_has_no_batch_normalization(make_config: MakeConfig) -> None:
    """AntixK/PyTorch-VAE: a row's answer depended on the other rows."""
    state, _ = start(make_config())
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(state.discriminator(z)[:1], state.discriminator(z[:1]))


@pytest.mark.parametrize("logit", [-6.0, 6.0])
def test_gate_near_its_ends_still_has_a_gradient(logit: float) -> None:
    """dn070017/Variational-Autoencoders: relu, cut at 1, has none beyond either end."""
    logits = torch.tensor([logit], requires_grad=True)
    (gradient,) = torch.autograd.grad(logits.sigmoid().sum(), logits, retain_graph=True)
    assert gradient.item() > 1e-3
    (gradient,) = torch.autograd.grad(relevance_entropy(logits), logits)
    assert gradient.item() * logit < 0


def test_gate_goes_on_learning_after_a_resume(tmp_path: Path, make_config: MakeConfig) -> None:
    """ThomasMrY/RF-VAE: the optimizer kept the tensor from before the checkpoint was read."""
    config = make_config(relevance={"frozen_steps": 0, "learning_rate": 0.1})
    state, images = start(config)
    train_step(state, images, config=config)
    save_checkpoint(tmp_path / "checkpoint.safetensors", state, config=config)
    resumed, _ = start(config)
    restore(resumed, read_checkpoint(tmp_path / "checkpoint.safetensors"))
    before = resumed.gate.relevance().detach().clone()
    train_step(resumed, images, config=config)
    after = resumed.gate.relevance().detach()
    assert float((after - before).abs().min()) > 0.01


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64), (5,)])
def test_batch_of_one_keeps_its_axis(shape: tuple[int, ...]) -> None:
    """ThomasMrY/RF-VAE: `squeeze()` dropped it."""
    vae = VAE(shape, latent_dim=4)
    mu, logvar = vae.encode(torch.rand(1, *shape))
    assert mu.shape == logvar.shape == (1, 4)
    assert vae.decode(mu).shape == (1, *shape)
    loss = vae.likelihood.reconstruction_loss(vae.decode_logits(mu), torch.rand(1, *shape))
    assert loss.shape == (1,)


def test_second_batch_is_a_whole_one(make_config: MakeConfig) -> None:
    """clementchadebec/benchmark_VAE and YannDubs: one batch was cut into two halves."""
    config = make_config(run={"batch_size": 8}, discriminator={"history": 1})
    state, images = start(config)
    train_step(state, images, config=config)
    assert state.history.posteriors()[0].shape == (8, 4)


def test_every_image_is_drawn_and_no_step_waits_for_an_epoch(make_config: MakeConfig) -> None:
    """seqam-lab/rfvae: its first epoch was one batch short."""
    config = make_config(data={"name": "linear-gaussian"}, objective={"likelihood": "gaussian"})
    images = open_images(config.data)
    few = Part(images, torch.arange(20))
    drawn: list[int] = []

    def images_of(indices: Tensor) -> Tensor:
        drawn.extend(indices.tolist())
        return images.images(indices)

    few.images = images_of  # type: ignore[method-assign]
    state = new_state(config, images.image_shape, device=CPU)
    for _ in range(30):
        train_step(state, few, config=config)
    assert len(drawn) == 30 * 2 * 4
    assert set(drawn) == set(range(20))


def test_mean_over_images_includes_the_last_short_batch(make_config: MakeConfig) -> None:
    """seqam-lab/rfvae: the loss of its test left the last batch out."""
    state, images = start(make_config())
    whole = encode_with_elbo(state.vae, images, torch.arange(300))
    assert len(whole.elbo) == 300
    last = encode_with_elbo(state.vae, images, torch.arange(256, 300))
    torch.testing.assert_close(whole.elbo[256:], last.elbo, rtol=1e-4, atol=1e-3)
