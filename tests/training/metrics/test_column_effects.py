import pytest
import torch

from training.metrics.column_effects import column_effects, column_spread
from training.metrics.decoder_effects import traversal_effect


def test_column_spread_of_a_constant_column_is_infinite():
    rows = torch.cat([torch.randn(300, 1), torch.full((300, 1), 0.1)], dim=1)
    spread = column_spread(rows)
    assert spread[0] == pytest.approx(float(rows[:, 0].std(correction=0)))
    assert spread[1] == torch.inf


def test_constant_column_counts_for_no_effect():
    spread = column_spread(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    latents, low, high = torch.zeros(3, 1), torch.tensor([-1.0]), torch.tensor([1.0])

    def effects_of(decode):
        ends = {"low": low, "high": high}
        return column_effects(decode, latents, **ends), traversal_effect(decode, latents, **ends)

    both = effects_of(lambda z: z.repeat(1, 2) / spread)
    alone = effects_of(lambda z: z / spread[:1])
    assert both[0].tolist() == [[2.0, 0.0]]
    assert alone[0].tolist() == [[2.0]]
    assert both[1].tolist() == alone[1].tolist()
