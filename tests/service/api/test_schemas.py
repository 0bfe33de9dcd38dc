"""JSON bodies: any bytes give a body or one problem."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.schemas import DecodeBody, ImagesBody, TraverseBody, parse_body
from service.errors import InvalidValue, MalformedInput

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)


def test_parse_body_reads_latents() -> None:
    body = parse_body(b'{"latents": [[1, 2.5]], "dims": [0, "scale"]}', DecodeBody)

    assert (body.latents, body.dims) == ([[1.0, 2.5]], (0, "scale"))


@pytest.mark.parametrize("schema", [DecodeBody, ImagesBody, TraverseBody])
@settings(max_examples=50)
@given(st.binary(max_size=100))
def test_parse_body_refuses_bytes_that_are_no_json(schema: type[DecodeBody], body: bytes) -> None:
    with pytest.raises((MalformedInput, InvalidValue)) as caught:
        parse_body(b"\xff" + body, schema)

    assert "\n" not in caught.value.detail


@settings(max_examples=50)
@given(VALUES)
def test_parse_body_refuses_latents_of_any_other_kind(value: object) -> None:
    body = json.dumps({"latents": {"not": value}}).encode()

    with pytest.raises(InvalidValue, match="field `latents`"):
        parse_body(body, DecodeBody)


def test_parse_body_refuses_true_as_a_number() -> None:
    with pytest.raises(InvalidValue, match=r"`latents\.0\.0`: input should be a valid number"):
        parse_body(b'{"latents": [[true]]}', DecodeBody)
