"""Finished answers: bytes, media type, and the few headers that some of them need."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from service.api.negotiation import JSON

Header = tuple[bytes, bytes]
RESIZED: Final[Header] = (b"x-resized", b"true")


class Ready(Response):
    """A response whose bytes exist already; skips the header machinery of its base class."""

    def __init__(
        self,
        body: bytes,
        media_type: str,
        *,
        headers: list[Header] | None = None,
        status: int = 200,
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(body)),
            *(headers or ()),
        ]


def json_answer(payload: Any, *, headers: list[Header] | None = None, status: int = 200) -> Ready:
    """The payload as JSON; numpy arrays become lists."""
    return Ready(to_json(payload), JSON, headers=headers, status=status)


def to_json(payload: Any) -> bytes:
    """The payload as JSON; numpy arrays become lists."""
    return orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
