"""Batches in fixed sizes: the right rows come back, whatever the number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from service.runtime.graphs import Outputs, Samples, run_in_pieces, run_in_sizes

Double = Callable[[Samples], Outputs]


@pytest.fixture
def seen() -> list[int]:
    return []


@pytest.fixture
def double(seen: list[int]) -> Double:
    """Gives each row twofold and its negative, and notes the sizes."""

    def run(rows: Samples) -> Outputs:
        seen.append(len(rows))
        return 2 * rows, -rows

    return run


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (8, [8]), (9, [8, 1]), (24, [8, 8, 8])])
def test_run_in_pieces_cuts_and_joins(
    double: Double, seen: list[int], rows: int, sizes: list[int]
) -> None:
    samples = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    doubled, negative = run_in_pieces(double, 8)(samples)
    assert seen == sizes
    assert np.array_equal(doubled, 2 * samples)
    assert np.array_equal(negative, -samples)


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, [1]), (4, [4]), (3, [4]), (8, [8]), (9, [8, 1]), (21, [8, 8, 8])]
)
def test_run_in_sizes_pads_and_cuts(
    double: Double, seen: list[int], rows: int, sizes: list[int]
) -> None:
    samples = np.arange(1, rows * 3 + 1, dtype=np.float32).reshape(rows, 3)
    doubled, negative = run_in_sizes(double, (1, 2, 4, 8))(samples)
    assert seen == sizes
    assert np.array_equal(doubled, 2 * samples)
    assert np.array_equal(negative, -samples)


def test_run_in_sizes_leaves_what_fits_uncopied() -> None:
    samples = np.ones((4, 3), np.float32)
    (output,) = run_in_sizes(lambda rows: (rows,), (4,))(samples)
    assert output is samples
