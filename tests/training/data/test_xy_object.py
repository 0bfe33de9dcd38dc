"""XYObject against its description."""

import torch

from training.config import DataConfig
from training.data import open_images


def test_square_has_its_side_and_stays_centered_in_its_place() -> None:
    source = open_images(DataConfig(name="xy-object"))
    assert source.factors is not None
    assert source.n_images == 25 * 25 * 5 * 24
    classes = torch.tensor([[0, 0, 4, 0], [0, 0, 0, 0], [24, 24, 4, 0]])
    large, small, last = source.images(source.factors.indices_of(classes))[:, 0]
    expected = torch.zeros(64, 64)
    expected[:15, :15] = 1
    assert torch.equal(large, expected)
    assert torch.equal(small.nonzero().amin(dim=0), torch.tensor([4, 4]))
    assert int(small.sum()) == 49
    assert torch.equal(last.nonzero().amax(dim=0), torch.tensor([62, 62]))
