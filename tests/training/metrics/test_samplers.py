import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.samplers import (
    GridSampler,
    NoSuchRows,
    TableSampler,
    choose,
    group_rows,
)

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@given(sizes=sizes, seed=st.integers(0, 100))
def test_grid_sampler_agrees_with_a_search_over_the_grid(sizes, seed):
    rng = np.random.default_rng(seed)
    sampler = GridSampler(sizes)
    grid = np.stack(np.unravel_index(np.arange(sampler.n_images), sizes), axis=1)
    for factor in range(len(sizes)):
        fixed = sampler.fixed(factor, 10**6, rng)
        value = grid[fixed[0], factor]
        assert sorted(fixed) == np.flatnonzero(grid[:, factor] == value).tolist()
        varied = sampler.varied(factor, 10**6, rng)
        others = np.delete(grid, factor, axis=1)
        same = (others == others[varied[0]]).all(axis=1)
        assert sorted(varied) == np.flatnonzero(same).tolist()


def test_grid_sampler_reaches_every_value():
    rng = np.random.default_rng(0)
    sampler = GridSampler((3, 4))
    values = {int(sampler.fixed(1, 1, rng)[0]) % 4 for _ in range(100)}
    assert values == {0, 1, 2, 3}


@pytest.mark.parametrize("sizes", [(), (3, 0)])
def test_grid_sampler_refuses_sizes_that_make_no_grid(sizes):
    with pytest.raises(ValueError, match="factor sizes must be one or more positive numbers; got"):
        GridSampler(sizes)


def test_table_sampler_knows_which_factors_vary():
    sampler = TableSampler(np.array([[0, 0, 1], [1, 0, 0]]))
    assert sampler.varying.tolist() == [0, 2]


def test_table_sampler_varies_a_factor_only_where_it_varies():
    sampler = TableSampler(np.array([[0, 0], [0, 0], [0, 1], [1, 1]]))
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert sorted(sampler.varied(0, 9, rng)) == [2, 3]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("fixed", r"two rows with the same value of factor 1; got none among 3 rows\. Put cont"),
        ("varied", r"differ in factor 1 and in no other; got none .*\. Leave factor 1 out: the"),
    ],
)
def test_table_sampler_says_which_rows_are_missing(kind, text):
    sampler = TableSampler(np.array([[0, 0], [1, 1], [2, 2]]))
    with pytest.raises(NoSuchRows, match=text) as caught:
        getattr(sampler, kind)(1, 2, np.random.default_rng(0))
    assert (caught.value.kind, caught.value.factor) == (kind, 1)


def test_choose_repeats_nothing():
    picked = choose(1000, 300, np.random.default_rng(0))
    assert len(set(picked.tolist())) == 300
    assert choose(4, 9, np.random.default_rng(0)).tolist() == [0, 1, 2, 3]


def test_group_rows_groups_equal_rows():
    groups = group_rows(np.array([[1, 0], [0, 0], [1, 0]]))
    assert sorted(group.tolist() for group in groups) == [[0, 2], [1]]
