"""What OpenAPI says of the routes; their handlers take the bare call, so it is written here."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api import oip_schemas, row_schemas, schemas
from service.api.negotiation import GIF, JSON, NPY
from service.api.parameters import ModelQuery
from service.api.problems import PROBLEM_JSON
from service.api.reading import MULTIPART, RAW_IMAGES
from service.api.rendering import GRID_TYPES

Content = dict[str, dict[str, Any]]
BINARY: Final = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
FILE: Final = {"type": "string", "format": "binary"}  # `/docs` offers a file chooser for it

_MODELS: Final[tuple[type[BaseModel], ...]] = (
    schemas.ImagesBody,
    schemas.EncodeBody,
    schemas.DecodeBody,
    schemas.TraverseBody,
    schemas.InterpolateBody,
    schemas.SwapBody,
    schemas.EncodeAnswer,
    schemas.FactorsAnswer,
    schemas.ModelFactorsAnswer,
    schemas.DecodeAnswer,
    schemas.GridAnswer,
    schemas.ModelsAnswer,
    schemas.ModelAnswer,
    schemas.HealthAnswer,
    schemas.Problem,
    *row_schemas.ROW_MODELS,
    *oip_schemas.OIP_MODELS,
)
_PROBLEMS: Final = {
    400: "The request is malformed.",
    404: "No such model, version or dimension.",
    406: "`Accept` names nothing that can be made.",
    408: "The body came too slowly.",
    413: "Too many bytes, pixels or rows.",
    415: "A content type that is not read.",
    422: "Well formed, but a value is wrong.",
    429: "The queue is full, or too long for the deadline; `Retry-After` says when to try again.",
    500: "The service failed.",
    503: "Not ready, or shutting down.",
    504: "The deadline passed, or is too near for so many rows.",
}
INFERENCE_PROBLEMS: Final = tuple(_PROBLEMS)
QUERY_PROBLEMS: Final = (404, 422, 503)


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """Content whose schema is one of the components."""
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


def either(*models: type[BaseModel]) -> dict[str, Any]:
    """Content of one of several schemas: for a model of images first, then for one of rows."""
    return {"schema": {"anyOf": [reference(model)["schema"] for model in models]}}


def image_content(body: type[schemas.Body], *, single: bool = True) -> Content:
    """All the forms in which images come in, or rows for a model of rows (JSON and npy)."""
    form = {"type": "object", "properties": {"images": {"type": "array", "items": FILE}}}
    several: Content = {
        MULTIPART: {"schema": form | {"required": ["images"]}},
        JSON: either(body, row_schemas.ROWS_BODIES[body]),
        NPY: BINARY,
    }
    return {**dict.fromkeys(RAW_IMAGES, BINARY), **several} if single else several


def grid_answers() -> Content:
    """All the forms of a grid of frames; of a model of rows, JSON and npy."""
    grid = either(schemas.GridAnswer, row_schemas.GridOfRowsAnswer)
    return {**dict.fromkeys(GRID_TYPES, BINARY), JSON: grid}


def operation(
    summary: str,
    *,
    tag: str,
    answers: Content,
    query: type[ModelQuery] | None = None,
    body: Content | None = None,
    problems: Iterable[int] = (),
) -> dict[str, Any]:
    """One OpenAPI operation, `tag` beside it for the route to take."""
    headers = _HEADERS if body is None else _HEADERS | _INFERENCE_HEADERS
    if GIF in answers:
        headers = headers | _GRID_HEADERS
    described: dict[str, Any] = {
        "tag": tag,
        "summary": summary,
        "responses": {"200": {"description": "Done.", "content": answers, "headers": headers}},
    }
    for status in problems:
        described["responses"][str(status)] = _problem(status)
    if query is not None:
        described["parameters"] = [*_query_parameters(query)]
    if body is not None:
        described["parameters"] = [*described.get("parameters", []), _TIMEOUT]
        described["requestBody"] = {"required": True, "content": body}
    return described


def install_openapi(app: FastAPI) -> None:
    """Adds the components that the operations refer to; the document is made once, on demand."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            parts = document.setdefault("components", {}).setdefault("schemas", {})
            parts.update(_component_schemas())
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def _component_schemas() -> Mapping[str, Any]:
    wanted = [(model, "serialization") for model in _MODELS]
    template = "#/components/schemas/{model}"
    definitions = models_json_schema(wanted, ref_template=template)[1]  # type: ignore[arg-type]
    components: Mapping[str, Any] = definitions["$defs"]
    return components


def _problem(status: int) -> dict[str, Any]:
    headers = _HEADERS | _RETRY_AFTER if status == 429 else _HEADERS
    content = {PROBLEM_JSON: reference(schemas.Problem)}
    return {"description": _PROBLEMS[status], "content": content, "headers": headers}


def _query_parameters(query: type[ModelQuery]) -> Iterable[dict[str, Any]]:
    properties = query.model_json_schema()
    for name, schema in properties["properties"].items():
        description = schema.pop("description", "")
        schema.pop("title", None)
        yield {
            "name": name,
            "in": "query",
            "required": name in properties.get("required", ()),
            "description": description,
            "schema": schema,
            "style": "form",
            "explode": False,
        }


_TIMEOUT: Final = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "required": False,
    "description": "Time that the answer may take, in milliseconds; then 504.",
    "schema": {"type": "integer", "minimum": 1},
}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"schema": {"type": kind}, "description": description}


_HEADERS: Final = {"X-Request-ID": _header("Known to the log.")}
_INFERENCE_HEADERS: Final = {
    "X-Model": _header("The model that answered."),
    "X-Model-Version": _header("Its version.", "integer"),
    "Server-Timing": _header("Milliseconds: decode, queue, infer, encode."),
    "X-Resized": _header(
        "`true` where an image had another size and the answer is no JSON, which says so itself."
    ),
}
_GRID_HEADERS: Final = {"X-Grid": _header("Rows and columns of frames, with a comma.")}
_RETRY_AFTER: Final = {"Retry-After": _header("Seconds.", "integer")}
