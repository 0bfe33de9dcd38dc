"""The batcher's knobs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.policy import BatchPolicy


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (17, 32), (64, 64), (65, 65)]
)
def test_padded_takes_the_next_size(rows: int, size: int) -> None:
    assert BatchPolicy().padded(rows) == size


def test_padded_without_sizes_changes_nothing() -> None:
    assert BatchPolicy(bucket_sizes=()).padded(5) == 5


@pytest.mark.parametrize(
    ("waiting", "idle", "share"),
    [(100, 1, 64), (150, 2, 64), (20, 2, 10), (21, 2, 11), (5, 2, 4), (3, 2, 4), (20, 0, 64)],
)
def test_share_divides_among_idle_lanes(waiting: int, idle: int, share: int) -> None:
    assert BatchPolicy(lanes=4).share(waiting, idle_lanes=idle) == share


@given(st.integers(1, 500), st.integers(-1, 8), st.integers(1, 64), st.integers(1, 8))
def test_share_is_never_more_than_a_batch(waiting: int, idle: int, most: int, least: int) -> None:
    policy = BatchPolicy(max_batch_rows=most, min_share_rows=least)
    assert 1 <= policy.share(waiting, idle_lanes=idle) <= most


@pytest.mark.parametrize("wrong", [{"max_batch_rows": 0}, {"max_queue_rows": 0}, {"lanes": 0}])
def test_policy_refuses_sizes_below_one(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rows, bytes and lanes of a batcher must be at least 1"):
        BatchPolicy(**wrong)


@pytest.mark.parametrize("sizes", [(2, 1), (1, 1)])
def test_policy_refuses_sizes_that_do_not_rise(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`bucket_sizes` must rise"):
        BatchPolicy(bucket_sizes=sizes)
