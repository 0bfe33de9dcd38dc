"""Lets only requests with a known API key through; there only where keys are asked for."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Unauthorized
from service.observability.record import record_of

KEY_HEADER: Final = b"x-api-key"
_BEARER: Final = b"bearer "
_HOW: Final = "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"


class ApiKeys:
    """Raises Unauthorized before anything of the body is read.

    Args:
        knows: whether a key is one of those that are let in.
        is_exempt: whether a path takes requests without one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        knows: Callable[[bytes], bool],
        is_exempt: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._knows = knows
        self._is_exempt = is_exempt

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and not self._is_exempt(scope["path"]):
            headers = record_of(scope).headers
            authorization = headers.get(b"authorization", b"")
            key = _key_of(authorization, headers.get(KEY_HEADER))
            if key is None:
                got = "an `Authorization` that is no `Bearer KEY`" if authorization else "none"
                raise Unauthorized(f"this path needs an API key; got {got}; {_HOW}")
            if not self._knows(key):
                raise Unauthorized(f"an API key must be one that the service knows; {_HOW}")
        return self._app(scope, receive, send)


def _key_of(authorization: bytes, plain: bytes | None) -> bytes | None:
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return plain
