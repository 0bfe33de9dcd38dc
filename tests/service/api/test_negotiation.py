"""The choice of a media type from `Accept`."""

import re

import pytest

from service.api.negotiation import GIF, JSON, NPY, PNG, WEBP, negotiate
from service.errors import NotAcceptable

OFFERS = (PNG, GIF, WEBP, NPY, JSON)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, PNG),
        (b"*/*", PNG),
        (b"image/gif", GIF),
        (b"IMAGE/GIF", GIF),
        (b"image/*", PNG),
        (b"application/*", NPY),
        (b"application/json", JSON),
        (b"application/json;q=0.5, image/webp;q=0.9", WEBP),
        (b"image/png;q=0.1, */*;q=0.5", GIF),
        (b"image/png;q=0, image/*", GIF),
        (b"image/avif, image/webp, */*;q=0.8", WEBP),
        (b"text/html, application/json", JSON),
        (b"application/json;charset=utf-8", JSON),
        (b"image/gif;q=oops, image/webp", WEBP),
        (b" image/gif ; q=1.0 , ", GIF),
    ],
)
def test_negotiate_takes_what_the_client_likes_best(accept: bytes | None, chosen: str) -> None:
    assert negotiate(accept, OFFERS) == chosen


@pytest.mark.parametrize("accept", [b"text/html", b"image/png;q=0", b"", b"x" * 2000, b"image/p"])
def test_negotiate_lists_what_is_offered_when_nothing_fits(accept: bytes) -> None:
    text = (
        "`Accept` must allow one of `image/png`, `image/gif`, `image/webp`, `application/x-npy`, "
        f"`application/json`; got `{accept[:100].decode()}`"
    )

    with pytest.raises(NotAcceptable, match=re.escape(text)):
        negotiate(accept, OFFERS)
