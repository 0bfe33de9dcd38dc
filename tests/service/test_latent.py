"""Latents: choosing dims, completing rows, walking, and placing values in the training data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.errors import InvalidValue, UnknownDimension
from service.latent import (
    LatentSpace,
    complete_latents,
    in_range,
    interpolate,
    kl_per_dim,
    novelty_percentile,
    percentile_of,
    select_dims,
    swap,
    traversal_grid,
    traversal_values,
)

QUANTILES = np.array([-3, -2, -1, 0, 1, 2, 3], np.float64)


@pytest.fixture
def space() -> LatentSpace:
    return LatentSpace(
        relevant_dims=np.array([2, 0]),
        names=("scale", "z1", "x position", "z3"),
        relevance=np.array([0.9, 0.1, 0.95, 0.0], np.float32),
        mu_mean=np.array([10, 11, 12, 13], np.float32),
        mu_quantiles=np.stack([QUANTILES * (dim + 1) for dim in range(4)]),
        elbo_quantiles=QUANTILES,
    )


def test_space_gives_the_range_of_each_dim(space: LatentSpace) -> None:
    assert space.low.tolist() == [-3, -6, -9, -12]
    assert space.high.tolist() == [3, 6, 9, 12]
    assert space.latent_dim == 4


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ("relevant", [2, 0]),
        ("all", [0, 1, 2, 3]),
        ([3, 1], [3, 1]),
        (["x position", 1], [2, 1]),
        (["3"], [3]),
        ([], []),
    ],
)
def test_select_dims_takes_sets_numbers_and_names(
    space: LatentSpace, dims: str | list[int | str], expected: list[int]
) -> None:
    assert select_dims(space, dims).tolist() == expected  # type: ignore[arg-type]


def test_select_dims_keeps_the_first_and_the_most_relevant(space: LatentSpace) -> None:
    assert select_dims(space, "relevant", top_k=1).tolist() == [2]
    assert select_dims(space, "all", threshold=0.5).tolist() == [0, 2]
    assert select_dims(space, "all", threshold=0.05, top_k=2).tolist() == [0, 1]


@pytest.mark.parametrize("dim", [4, -1, "nose", "1.5"])
def test_select_dims_refuses_an_unknown_dim(space: LatentSpace, dim: int | str) -> None:
    message = f"an integer from 0 to 3 or the name of a factor; got `{dim}`"
    with pytest.raises(UnknownDimension, match=message):
        select_dims(space, [dim])


def test_select_dims_refuses_bad_choices(space: LatentSpace) -> None:
    with pytest.raises(InvalidValue, match=r"must not name a dimension twice; got \[0, 0\]"):
        select_dims(space, [0, "scale"])
    with pytest.raises(InvalidValue, match="`top_k` must be at least 1; got 0"):
        select_dims(space, top_k=0)
    with pytest.raises(InvalidValue, match=r"`threshold` is a relevance from 0 to 1; got 1.5"):
        select_dims(space, threshold=1.5)
    with pytest.raises(InvalidValue, match="`threshold` is a relevance from 0 to 1; got nan"):
        select_dims(space, threshold=float("nan"))


def test_complete_latents_takes_full_rows_as_they_are(space: LatentSpace) -> None:
    full = complete_latents(space, [[1, 2, 3, 4]])
    assert full.tolist() == [[1, 2, 3, 4]]
    assert full.dtype == np.float32


def test_complete_latents_fills_the_rest_with_the_training_mean(space: LatentSpace) -> None:
    assert complete_latents(space, [[5, 6], [7, 8]]).tolist() == [[6, 11, 5, 13], [8, 11, 7, 13]]


def test_complete_latents_puts_named_dims_in_their_place(space: LatentSpace) -> None:
    assert complete_latents(space, [[5, 6, 7]], dims=[3, "z1", 0]).tolist() == [[7, 6, 12, 5]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3]], "must have 4 numbers, or 2 for the relevant dimensions; got 3"),
        ([1, 2, 3, 4], r"must be rows of numbers \(n, dims\); got shape \(4,\)"),
        ([], r"got shape \(0,\)"),
        ([[1, 2], [1]], "all of one length; got rows that differ"),
        ([["a", "b"]], "must be rows of numbers"),
        ([[1, float("nan")]], "must be finite float32 numbers; got NaN or infinity"),
        ([[1, float("inf")]], "must be finite float32 numbers; got NaN or infinity"),
    ],
)
def test_complete_latents_refuses_wrong_rows(
    space: LatentSpace, rows: list[object], message: str
) -> None:
    with pytest.raises(InvalidValue, match=message):
        complete_latents(space, rows)


def test_complete_latents_refuses_numbers_beyond_float32(space: LatentSpace) -> None:
    with pytest.raises(InvalidValue, match="must be finite float32 numbers"):
        complete_latents(space, [[1e300, 0]])


def test_complete_latents_refuses_to_guess_an_order(space: LatentSpace) -> None:
    space = replace(space, relevant_dims=np.array([2, 0, 3, 1]))
    with pytest.raises(InvalidValue, match="`dims` must say in which order a row is"):
        complete_latents(space, [[5, 6, 7, 8]])
    assert complete_latents(space, [[5, 6, 7, 8]], dims="all").tolist() == [[5, 6, 7, 8]]
    assert complete_latents(space, [[5, 6, 7, 8]], dims="relevant").tolist() == [[6, 8, 5, 7]]
    in_order = replace(space, relevant_dims=np.arange(4))
    assert complete_latents(in_order, [[5, 6, 7, 8]]).tolist() == [[5, 6, 7, 8]]


def test_complete_latents_counts_the_named_dims(space: LatentSpace) -> None:
    with pytest.raises(InvalidValue, match=r"must have 1 numbers, one for each of `dims`; got 2"):
        complete_latents(space, [[1, 2]], dims=[0])


def test_traversal_grid_moves_one_dim_a_row() -> None:
    base = np.array([1, 2, 3], np.float32)
    dims = np.array([2, 0])
    grid = traversal_grid(base, dims, traversal_values(dims, low=-1, high=[1, 3], steps=3))
    assert grid.dtype == np.float32
    assert grid.tolist() == [
        [[1, 2, -1], [1, 2, 0], [1, 2, 1]],
        [[-1, 2, 3], [1, 2, 3], [3, 2, 3]],
    ]


def test_traversal_of_one_step_stands_in_the_middle() -> None:
    assert traversal_values(np.array([0]), low=-1, high=5, steps=1).tolist() == [[2]]


def test_traversal_of_no_dims_is_empty() -> None:
    dims = np.array([], int)
    values = traversal_values(dims, low=0, high=1, steps=5)
    assert traversal_grid(np.zeros(3), dims, values).shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("low", "steps", "message"),
    [
        (0, 0, "`steps` must be at least 1; got 0"),
        ([0, 1, 2], 3, r"`low` must be one number or one for each of 2 dimensions; got shape \(3,"),
        (float("nan"), 3, "`low` must be finite; got NaN or infinity"),
    ],
)
def test_traversal_refuses_wrong_ranges(low: object, steps: int, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        traversal_values(np.array([0, 1]), low=low, high=1, steps=steps)


def test_interpolate_walks_from_first_to_second() -> None:
    walk = interpolate(np.array([0, 4], np.float32), np.array([2, 0], np.float32), steps=3)
    assert walk.tolist() == [[0, 4], [1, 2], [2, 0]]
    assert walk.dtype == np.float32


def test_interpolate_needs_two_steps() -> None:
    with pytest.raises(InvalidValue, match="`steps` of an interpolation must be at least 2; got 1"):
        interpolate(np.zeros(2), np.ones(2), steps=1)


def test_swap_takes_dims_from_the_second_and_leaves_the_first_alone() -> None:
    first, second = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert swap(first, second, dims=np.array([1])).tolist() == [0, 1, 0]
    assert first.tolist() == [0, 0, 0]


def test_percentile_of_is_exact_at_the_quantiles_and_linear_between() -> None:
    assert percentile_of(QUANTILES, QUANTILES).tolist() == [1, 5, 25, 50, 75, 95, 99]
    assert percentile_of(0.5, QUANTILES) == pytest.approx(62.5)


def test_percentile_of_stays_within_what_is_known() -> None:
    assert percentile_of([-1e9, 1e9], QUANTILES).tolist() == [1, 99]


def test_percentile_of_a_constant_is_the_middle() -> None:
    assert percentile_of(4.0, np.full(7, 4.0)) == 50


@given(arrays(np.float64, 5, elements=st.floats(-10, 10)))
def test_percentile_of_never_falls(values: np.ndarray) -> None:
    percentiles = percentile_of(np.sort(values), QUANTILES)
    assert (np.diff(percentiles) >= 0).all()
    assert ((percentiles >= 1) & (percentiles <= 99)).all()


def test_in_range_compares_each_column_with_its_dim() -> None:
    quantiles = np.stack([QUANTILES, QUANTILES * 2])
    inside = in_range([[3.0, 6.0], [3.1, -6.1]], quantiles)
    assert inside.tolist() == [[True, True], [False, False]]
    assert not in_range(float("nan"), QUANTILES)


def test_novelty_is_high_where_the_bound_is_low() -> None:
    assert novelty_percentile([-3, 0, 3], QUANTILES).tolist() == [99, 50, 1]


def test_kl_per_dim_by_hand() -> None:
    kl = kl_per_dim(np.array([[0.0, 2.0]]), np.array([[0.0, np.log(0.25)]]))
    assert kl[0].tolist() == pytest.approx([0, 0.5 * (4 + 0.25 - 1 + np.log(4))])


@given(arrays(np.float64, (3, 2), elements=st.floats(-20, 20)))
def test_kl_per_dim_is_never_negative(rows: np.ndarray) -> None:
    assert (kl_per_dim(rows, rows[::-1]) >= 0).all()
