"""The vector set with a known answer."""

import numpy as np
import pytest
import torch

from training.config import DataConfig
from training.data import open_images
from training.data.linear_gaussian import LENGTHS, NOISE


def test_rows_have_three_strong_directions_and_noise_in_the_rest() -> None:
    source = open_images(DataConfig(name="linear-gaussian"))
    rows = source.images(torch.arange(source.n_images)).double()
    variances = torch.linalg.eigvalsh(torch.cov(rows.T)).flip(0)
    expected = [length**2 + NOISE**2 for length in LENGTHS]
    assert variances[:3].tolist() == pytest.approx(expected, rel=0.05)
    assert variances[3:].tolist() == pytest.approx([NOISE**2] * 13, rel=0.1)


def test_factors_are_the_directions_of_the_rows() -> None:
    source = open_images(DataConfig(name="linear-gaussian"))
    assert source.factors is not None
    assert source.image_shape == (16,)
    indices = torch.arange(source.n_images)
    rows, z = source.images(indices).double(), source.factors.values_at(indices)
    _, _, axes = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    table = np.corrcoef((rows @ axes[:3].T).T.numpy(), z.T.numpy())[:3, 3:]
    assert np.abs(np.diag(table)) == pytest.approx([1, 1, 1], abs=0.02)
