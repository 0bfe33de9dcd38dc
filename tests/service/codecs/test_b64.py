"""Base64, strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codecs.b64 import decode_base64, encode_base64
from service.errors import MalformedInput


@given(st.binary())
def test_round_trip(content: bytes) -> None:
    assert decode_base64(encode_base64(content)) == content


@pytest.mark.parametrize("text", ["abc", "ab=c", "a b c d ", "YWJj\n", "YW-_", "é" * 4, "===="])
def test_decode_refuses_anything_else(text: str) -> None:
    message = f"^image 2 must be base64 with the standard .*; got {len(text)} characters that are"
    with pytest.raises(MalformedInput, match=message):
        decode_base64(text, what="image 2")


def test_decode_says_what_to_do_with_a_data_address() -> None:
    with pytest.raises(MalformedInput, match="got a `data:` address; send what follows its comma"):
        decode_base64("data:image/png;base64,YWJj")
