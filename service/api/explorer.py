"""`GET /`: the page on which people explore a model's latent dimensions, and its files.

All of it lies in `service/web` and is read once; addresses are relative, for any prefix.
"""

import hashlib
from pathlib import Path
from typing import Final

from starlette.responses import Response

from service.api.call import Call, Service
from service.api.docs import page_headers
from service.api.route import Handler, LeanRoute

WEB: Final = Path(__file__).parent.parent / "web"
_KINDS: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_PAGE: Final = "index.html"


def explorer_routes(service: Service) -> list[LeanRoute]:
    """The page and its files; like `/docs` they need no key, the page asks for one."""
    files = {
        f"/explorer/{path.relative_to(WEB).as_posix()}": path
        for path in sorted(WEB.rglob("*"))
        if path.suffix in _KINDS and path.name != _PAGE
    }
    return [
        LeanRoute("GET", address, _file(path), operation="docs", service=service)
        for address, path in {"/": WEB / _PAGE, **files}.items()
    ]


def _file(path: Path) -> Handler:
    content = path.read_bytes()
    # Asked again each time and answered by 304: a page never mixes files of two versions.
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if path.name == _PAGE:
        headers |= page_headers(content)

    async def explorer_file(call: Call) -> Response:
        # One of several, perhaps; and weak behind a proxy that compresses: RFC 9110, 13.1.2.
        if tag.encode() in call.record.headers.get(b"if-none-match", b""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_KINDS[path.suffix], headers=headers)

    return explorer_file
