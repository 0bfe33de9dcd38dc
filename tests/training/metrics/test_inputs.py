import numpy as np
import pytest

from training.metrics.inputs import active_dims, as_classes, as_codes, discretize, split_rows


def test_codes_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(n, latent_dim\).*got shape \(3,\). Pass one row"):
        as_codes(np.zeros(3))


def test_codes_with_nan_are_refused():
    codes = np.array([[0.0, np.nan], [np.inf, 1.0]])
    with pytest.raises(ValueError, match="must be finite; got 2 NaN or infinite of 4 values"):
        as_codes(codes)


def test_factors_with_another_number_of_rows_are_refused():
    with pytest.raises(ValueError, match=r"one row for each of the 4 rows.*got shape \(3, 1\)"):
        as_classes(np.zeros((3, 1)), 4)


def test_factors_with_nan_are_refused():
    with pytest.raises(ValueError, match="Leave out the rows whose factors are not known"):
        as_classes(np.array([[0.0], [np.nan]]), 2)


def test_classes_number_each_columns_values_in_order():
    classes = as_classes(np.array([[2.5, 9], [-1.0, 9], [2.5, 3]]), 3)
    assert classes.tolist() == [[1, 1], [0, 1], [1, 0]]


def test_discretize_puts_the_largest_value_into_the_last_bin():
    assert discretize(np.linspace(0, 1, 5)[:, None], 4).ravel().tolist() == [0, 1, 2, 3, 3]


def test_discretize_puts_a_constant_column_into_one_bin():
    assert len(np.unique(discretize(np.full((6, 1), 3.0), 20))) == 1


def test_active_dims_never_include_a_constant_dimension():
    codes = np.column_stack([np.full(4, 1.0), [0, 0.01, 0, 0.01], [0, 1, 0, 1]])
    assert active_dims(codes).tolist() == [2]
    assert active_dims(codes, min_std=0).tolist() == [1, 2]


def test_split_rows_cuts_every_row_once():
    parts = split_rows(10, (0.8, 0.1, 0.1), np.random.default_rng(0))
    assert [len(part) for part in parts] == [8, 1, 1]
    assert sorted(np.concatenate(parts)) == list(range(10))


def test_split_rows_refuses_an_empty_part():
    with pytest.raises(ValueError, match="at least one row in each part; got 3 rows"):
        split_rows(3, (0.8, 0.1, 0.1), np.random.default_rng(0))


def test_discretize_cuts_values_far_from_zero_like_others():
    near = np.array([[0.0], [512.0], [1024.0], [1024.0], [2048.0]])
    np.testing.assert_array_equal(discretize(near + 1.7e18), discretize(near))
