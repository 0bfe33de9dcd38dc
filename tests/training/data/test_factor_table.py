"""Factors of images that form no grid."""

import numpy as np
import pytest
import torch

from training.data.factor_table import factor_table


def test_factor_table_keeps_few_values_as_classes_and_cuts_many() -> None:
    values = np.stack([np.arange(100) % 3 * 10.0, np.linspace(0, 1, 100)], axis=1)
    table = factor_table(["kind", "angle"], values)
    assert table.factor_sizes == (3, 10)
    assert table.factors_of(torch.tensor([4, 99])).tolist() == [[1, 0], [0, 9]]
    assert table.values_at(torch.tensor([4]))[0].tolist() == pytest.approx([10, 4 / 99])
