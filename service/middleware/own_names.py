"""Takes only requests that name this machine; there only where no keys are asked for.

The page of any web site may have its name point to 127.0.0.1 while it is open, and then read what
a service answers that only this machine reaches (DNS rebinding). Its requests still have that name
as their `Host`.
"""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Misdirected
from service.observability.record import record_of


class OwnNames:
    """Raises Misdirected before anything of the body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            host = record_of(scope).headers.get(b"host", b"")
            if not _is_own(host):
                raise Misdirected(
                    "without API keys `Host` must be `localhost`, an address or a name without "
                    f"dots; got `{host[:60].decode('latin-1')}`; use one of these, set "
                    "RFVAE_API_KEY_HASHES, or say RFVAE_AUTH=off, as behind a proxy"
                )
        return self._app(scope, receive, send)


def _is_own(host: bytes) -> bool:
    """Whether no web site can have it: no top-level domain is a number or `localhost`."""
    name = host.lower().partition(b":")[0].rstrip(b".")
    last = name.rpartition(b".")[2]
    return last == name or last.isdigit() or last == b"localhost" or host.startswith(b"[")
