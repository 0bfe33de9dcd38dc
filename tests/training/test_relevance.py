"""The gate: where it starts, when it moves, and what is said when it collapses."""

import pytest
import torch

from training.config import RelevanceConfig
from training.relevance import RelevanceGate, initial_logits


def gate(config: RelevanceConfig, latent_dim: int = 4) -> RelevanceGate:
    generator = torch.Generator().manual_seed(0)
    return RelevanceGate(config, latent_dim=latent_dim, generator=generator)


@pytest.mark.parametrize("initial", [0.5, 0.12, (0.9, 0.5, 0.2, 0.1)])
def test_learned_gate_starts_at_its_initial_value_up_to_a_jitter(
    initial: float | tuple[float, ...],
) -> None:
    relevance = gate(RelevanceConfig(initial=initial)).relevance().detach()
    torch.testing.assert_close(relevance, torch.tensor(initial).expand(4), atol=2e-3, rtol=0)
    assert len(relevance.unique()) == 4  # the jitter breaks ties


def test_initial_spread_orders_the_dimensions() -> None:
    config = RelevanceConfig(initial=0.5, initial_spread=2.0)
    generator = torch.Generator().manual_seed(0)
    logits = initial_logits(config, latent_dim=5, generator=generator)
    expected = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    torch.testing.assert_close(logits, expected, atol=0.01, rtol=0)


def test_fixed_gate_is_exactly_its_mask() -> None:
    fixed = gate(RelevanceConfig(mode="fixed", initial=(1, 0, 0.5, 1)))
    assert fixed.relevance().tolist() == [1, 0, 0.5, 1]
    assert not fixed.relevance_logits.requires_grad


def test_relevance_stays_within_zero_and_one() -> None:
    learned = gate(RelevanceConfig(), latent_dim=3)
    with torch.no_grad():
        learned.relevance_logits.copy_(torch.tensor([50.0, -50.0, 1e4]))
    assert bool((learned.relevance() >= 0).all())
    assert bool((learned.relevance() <= 1).all())
