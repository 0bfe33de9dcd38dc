"""Multipart bodies: parts in order, and what is refused."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.multipart import read_parts
from service.errors import MalformedInput, TooManyRows


def _encode(files: list[tuple[str, tuple[str, bytes, str]]]) -> tuple[bytes, bytes]:
    request = httpx.Request("POST", "http://test/", files=files)
    return request.read(), request.headers["content-type"].encode()


def _image(content: bytes) -> tuple[str, tuple[str, bytes, str]]:
    return ("images", ("a.png", content, "image/png"))


def test_read_parts_gives_names_and_contents_in_order() -> None:
    body, content_type = _encode([_image(b"first"), ("mask", ("b", b"second\r\n--", "a/b"))])

    assert read_parts(body, content_type, max_parts=5) == [
        ("images", b"first"),
        ("mask", b"second\r\n--"),
    ]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_read_parts_gives_back_any_content(contents: list[bytes]) -> None:
    body, content_type = _encode([_image(content) for content in contents])

    assert [content for _, content in read_parts(body, content_type, max_parts=5)] == contents


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_read_parts_refuses_any_other_bytes(body: bytes) -> None:
    with pytest.raises(MalformedInput, match="must keep to its boundary to the end"):
        read_parts(body, b"multipart/form-data; boundary=0123456789abcdef", max_parts=3)


def test_read_parts_refuses_a_body_that_is_cut_off() -> None:
    body, content_type = _encode([_image(b"first"), _image(b"second")])

    with pytest.raises(MalformedInput, match="must keep to its boundary to the end"):
        read_parts(body[:-20], content_type, max_parts=5)


def test_read_parts_refuses_a_content_type_without_boundary() -> None:
    with pytest.raises(MalformedInput, match=r"must name a `boundary`; got none"):
        read_parts(b"", b"multipart/form-data", max_parts=5)


def test_read_parts_refuses_more_parts_than_allowed() -> None:
    body, content_type = _encode([_image(b"x")] * 4)

    with pytest.raises(TooManyRows, match="must not have over 3 parts"):
        read_parts(body, content_type, max_parts=3)
