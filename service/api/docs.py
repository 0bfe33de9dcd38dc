"""`/docs`: the OpenAPI page from files on this machine, so that it works offline.

Swagger UI (Apache-2.0) comes with the package `fastapi-offline` (MIT), of which only the files are
used.
"""

import hashlib
import re
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, Response

from service.api.call import Call, Service
from service.api.route import Handler, LeanRoute

_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_INLINE_SCRIPT: Final = re.compile(rb'<script(?: type="importmap")?>(.*?)</script>', re.S)


def docs_routes(app: FastAPI, service: Service) -> list[LeanRoute]:
    """The page, its files and the OpenAPI document; addresses are relative, for any prefix."""
    paths: dict[str, Handler] = {
        "/docs": _page(app.title),
        "/openapi.json": _document(app),
    }
    folder = _static_folder()
    paths |= {f"/docs/{name}": _file(folder / name, kind) for name, kind in _FILES.items()}
    return [
        LeanRoute("GET", path, handler, operation="docs", service=service)
        for path, handler in paths.items()
    ]


def _static_folder() -> Path:
    found = find_spec("fastapi_offline")
    assert found is not None, "`fastapi-offline` is a dependency of this package"
    assert found.origin is not None
    return Path(found.origin).parent / "static"


def _page(title: str) -> Handler:
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=title,
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )
    page.headers.update(page_headers(bytes(page.body), styles="'self' 'unsafe-inline'"))

    async def docs(call: Call) -> Response:
        return page

    return docs


def page_headers(page: bytes, *, styles: str = "'self'") -> dict[str, str]:
    """What keeps a page to itself: it loads from here only, runs its own scripts, has no frame.

    Swagger UI sets styles as it runs, and shows pictures that were answered from blobs.

    Args:
        styles: where styles may come from.
    """
    digests = [hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page)]
    scripts = "".join(f" 'sha256-{b64encode(digest).decode()}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src 'self'{scripts}; style-src {styles}; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }


def _document(app: FastAPI) -> Handler:
    async def openapi_document(call: Call) -> Response:
        return Response(orjson.dumps(app.openapi()), media_type="application/json")

    return openapi_document


def _file(path: Path, media_type: str) -> Handler:
    async def docs_file(call: Call) -> Response:
        cached = {"Cache-Control": "max-age=86400"}
        return FileResponse(path, media_type=media_type, headers=cached)

    return docs_file
