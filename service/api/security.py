"""Which routes need an API key, and what OpenAPI says of it."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from fastapi import FastAPI

from service.api import oip_schemas, schemas
from service.api.negotiation import JSON
from service.api.openapi import Content, reference
from service.api.problems import PROBLEM_JSON, is_oip
from service.api.route import LeanRoute
from service.safety import ExemptGroup

SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, as `rfvae-serve key` makes them.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a header of its own.",
    },
}


def exempt_from(
    routes: Iterable[LeanRoute], groups: tuple[ExemptGroup, ...]
) -> Callable[[str], bool]:
    """Whether a path needs no key: that of a route whose operation is one of the groups."""
    exempt = [route for route in routes if route.operation in groups]
    fixed = frozenset(route.path for route in exempt if "{" not in route.path)
    patterns = [route.path_regex for route in exempt if "{" in route.path]

    def is_exempt(path: str) -> bool:
        return path in fixed or any(pattern.match(path) for pattern in patterns)

    return is_exempt


def describe_keys(app: FastAPI, is_exempt: Callable[[str], bool]) -> None:
    """Adds the key to the OpenAPI document: the schemes, who needs one, and the answer 401."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        if "securitySchemes" not in document["components"]:
            document["components"]["securitySchemes"] = SCHEMES
            for path, methods in document["paths"].items():
                for described in methods.values():
                    _describe(described, path, is_exempt=is_exempt(path))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(described: dict[str, Any], path: str, *, is_exempt: bool) -> None:
    if is_exempt:
        described["security"] = []
        return
    described["security"] = [{name: []} for name in SCHEMES]
    responses = described["responses"]
    responses["401"] = {
        "description": "No API key, or one that the service does not know.",
        "content": _error_content(path),
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    }


def _error_content(path: str) -> Content:
    if is_oip(path):
        return {JSON: reference(oip_schemas.OipError)}
    return {PROBLEM_JSON: reference(schemas.Problem)}
