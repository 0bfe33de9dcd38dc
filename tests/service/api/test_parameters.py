"""Query strings and options: what is read, and that nothing else than one problem is raised."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.parameters import (
    EncodeQuery,
    InterpolateQuery,
    TraverseQuery,
    merge,
    parse_query,
    shorten,
)
from service.api.schemas import InterpolateBody, TraverseBody
from service.errors import InvalidValue


def test_parse_query_has_defaults() -> None:
    query = parse_query(b"", TraverseQuery)

    assert (query.dims, query.steps, query.low, query.model) == ("relevant", 11, None, None)


def test_parse_query_reads_every_parameter() -> None:
    query = parse_query(b"model=tiny&version=2&dims=3%2C%20x%20position&top_k=1", EncodeQuery)

    assert (query.model, query.version, query.top_k) == ("tiny", 2, 1)
    assert query.dims == ("3", "x position")


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_parse_query_reads_or_refuses_any_bytes(query_string: bytes) -> None:
    text = b"dims=" + query_string.replace(b"&", b"").replace(b";", b"")

    try:
        query = parse_query(text, EncodeQuery)
    except InvalidValue as error:
        assert "\n" not in error.detail  # noqa: PT017 (either way is right)
    else:
        assert query.dims


def test_merge_takes_the_options_of_the_body() -> None:
    body = TraverseBody(steps=3, dims=[1])  # type: ignore[arg-type]

    merged = merge(parse_query(b"low=-1", TraverseQuery), body)

    assert (merged.steps, merged.dims, merged.low) == (3, (1,), -1.0)


def test_merge_keeps_the_query_where_the_body_says_nothing() -> None:
    body = InterpolateBody(images=["x"])

    assert merge(parse_query(b"steps=5", InterpolateQuery), body).steps == 5


def test_merge_refuses_the_same_option_twice() -> None:
    with pytest.raises(InvalidValue, match="`low` must stand in the query or in the body"):
        merge(parse_query(b"low=1", TraverseQuery), TraverseBody(low=1.0))


def test_shorten_makes_one_short_line() -> None:
    assert shorten("a\n b") == "a b"
    assert shorten("x" * 100, longest=10) == "x" * 10 + "…"
