import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from training.metrics.information import (
    binned_active,
    chance_information,
    entropies,
    information_table,
)


def test_information_table_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    first, second = rng.integers(5, size=(200, 3)), rng.integers(4, size=(200, 2))
    second[:, 0] = first[:, 1] % 4
    expected = [[mutual_info_score(a, b) for b in second.T] for a in first.T]
    np.testing.assert_allclose(information_table(first, second), expected, atol=1e-12)


def test_entropies_of_a_fair_and_a_constant_column():
    table = np.column_stack([np.arange(8) % 4, np.full(8, 2)])
    assert entropies(table) == pytest.approx([np.log(4), 0.0])


def test_binned_active_puts_other_dimensions_into_one_bin():
    codes = np.random.default_rng(0).normal(size=(50, 3))
    bins = binned_active(codes, np.array([2]))
    assert bins[:, :2].max() == 0
    assert bins[:, 2].min() == 0
    assert bins[:, 2].max() == 19


def test_chance_information_is_the_mean_over_shuffled_rows():
    rng = np.random.default_rng(0)
    bins, classes = rng.integers(6, size=(60, 2)), rng.integers(5, size=(60, 1))
    shuffled = [information_table(bins, rng.permutation(classes)) for _ in range(400)]
    expected = np.mean(shuffled, axis=0)
    assert chance_information(bins, classes) == pytest.approx(expected, abs=0.01)
    assert chance_information(np.zeros((60, 1), int), classes).tolist() == [[0.0]]
