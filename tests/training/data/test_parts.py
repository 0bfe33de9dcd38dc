"""Held-out images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import DataConfig
from training.data import held_out_part, open_images
from training.data.parts import split_indices


def test_split_indices_covers_all_images_once() -> None:
    kept, held = split_indices(1000, 0.1)
    assert (len(kept), len(held)) == (900, 100)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(1000))
    assert all(
        torch.equal(a, b) for a, b in zip(split_indices(1000, 0.1), (kept, held), strict=True)
    )


def test_split_indices_holds_out_one_of_few_and_none_of_nothing_asked() -> None:
    assert len(split_indices(5, 0.01)[1]) == 1
    assert len(split_indices(5, 0.0)[1]) == 0


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    np.save(tmp_path / "set.npy", np.arange(40)[:, None, None] / 40 + np.zeros((40, 8, 8)))
    lines = "\n".join(["number", *map(str, range(40))])
    (tmp_path / "factors.csv").write_text(lines)
    return DataConfig(
        name="images",
        path=tmp_path / "set.npy",
        size=8,
        holdout=0.25,
        factors=tmp_path / "factors.csv",
    )


def test_training_and_held_out_images_are_apart(config: DataConfig) -> None:
    train = open_images(config)
    held_out = held_out_part(train, config)
    assert held_out is not None
    assert (train.n_images, held_out.n_images) == (30, 10)
    assert train.sha256() == held_out.sha256()
    seen, unseen = (
        {round(40 * float(image.mean())) for image in source.images(torch.arange(source.n_images))}
        for source in (train, held_out)
    )
    assert seen | unseen == set(range(40))
    assert not seen & unseen


def test_factors_of_a_part_stay_with_their_images(config: DataConfig) -> None:
    held_out = held_out_part(open_images(config), config)
    assert held_out is not None
    assert held_out.factors is not None
    every = torch.arange(held_out.n_images)
    numbers = held_out.factors.values_at(every)[:, 0]
    torch.testing.assert_close(held_out.images(every).mean(dim=(1, 2, 3)), numbers.float() / 40)


def test_nothing_is_held_out_by_default() -> None:
    assert held_out_part(open_images(DataConfig()), DataConfig()) is None
