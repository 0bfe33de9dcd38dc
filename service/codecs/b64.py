"""Base64 in JSON, strictly: RFC 4648 section 4, padded, nothing else in between."""

from __future__ import annotations

import base64
import binascii

from service.errors import MalformedInput


def decode_base64(text: str, *, what: str = "image") -> bytes:
    """The bytes behind `text`.

    Args:
        what: names the value in the error, such as "image 3".

    Raises:
        MalformedInput: a character outside the alphabet, wrong padding, or a `data:` address.
    """
    if text.startswith("data:"):
        raise MalformedInput(
            f"{what} must be base64 alone; got a `data:` address; send what follows its comma"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedInput(
            f"{what} must be base64 with the standard alphabet and padding and no line breaks; "
            f"got {len(text)} characters that are not"
        ) from None


def encode_base64(content: bytes) -> str:
    """Base64 text of `content`."""
    return base64.b64encode(content).decode("ascii")
