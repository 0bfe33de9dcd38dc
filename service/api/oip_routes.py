"""The routes under `/v2` and what OpenAPI says of them."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from service.api import oip_schemas as schemas
from service.api.call import Service
from service.api.negotiation import JSON
from service.api.oip import (
    HEADER_LENGTH,
    OCTETS,
    infer,
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from service.api.openapi import BINARY, INFERENCE_PROBLEMS, Content, operation, reference
from service.api.route import Handler, LeanRoute

TAG: Final = "open inference protocol"
_MODEL: Final = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "NAME-encoder, NAME-decoder, or NAME, which is the encoder.",
    "schema": {"type": "string"},
}
_VERSION: Final = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
_HEADER_LENGTH: Final = {
    "name": HEADER_LENGTH.decode().title(),
    "in": "header",
    "required": False,
    "description": "Bytes of the JSON when bytes of tensors follow it; 0 when all of the body is "
    "rows of the one input.",
    "schema": {"type": "integer", "minimum": 0},
}


def oip_routes(service: Service) -> list[LeanRoute]:
    """All of them; those of a model with and without a version."""
    return [
        *_fixed(service),
        *_of_models(service, "", ""),
        *_of_models(service, "/versions/{version}", "_version"),
    ]


def _fixed(service: Service) -> list[LeanRoute]:
    described: dict[str, tuple[Handler, str, str, type[BaseModel], tuple[int, ...]]] = {
        "/v2": (server_metadata, "models", "The server", schemas.ServerMetadata, (200,)),
        "/v2/health/live": (server_live, "health", "Is it alive?", schemas.ServerLive, (200,)),
        "/v2/health/ready": (
            server_ready,
            "health",
            "Can requests be answered?",
            schemas.ServerReady,
            (200, 503),
        ),
    }
    return [
        LeanRoute(
            "GET",
            path,
            handler,
            operation=name,
            service=service,
            documentation=_described(summary, model, statuses),
        )
        for path, (handler, name, summary, model, statuses) in described.items()
    ]


def _of_models(service: Service, infix: str, suffix: str) -> list[LeanRoute]:
    path = f"/v2/models/{{model}}{infix}"
    parameters = [_MODEL, _VERSION] if infix else [_MODEL]

    def route(method: str, end: str, handler: Handler, name: str, described: Any) -> LeanRoute:
        described["parameters"] = [*parameters, *described.get("parameters", [])]
        described["operationId"] = f"{handler.__name__}{suffix}"
        return LeanRoute(
            method,
            path + end,
            handler,
            operation=name,
            service=service,
            documentation=described,
        )

    metadata = _described("A model's tensors", schemas.ModelMetadata, (200,), (404, 503))
    ready = _described("Can a model answer?", schemas.ModelReady, (200, 503), (404,))
    return [
        route("GET", "", model_metadata, "models", metadata),
        route("GET", "/ready", model_ready, "health", ready),
        route("POST", "/infer", infer, "oip", _infer()),
    ]


def _described(
    summary: str, answer: type[BaseModel], statuses: Iterable[int], errors: Iterable[int] = ()
) -> dict[str, Any]:
    described = operation(summary, tag=TAG, answers={}, problems=errors)
    _as_oip_errors(described)
    for status in statuses:
        described["responses"][str(status)] = {
            "description": "It is so." if status == 200 else "Not so, or not now.",
            "content": {JSON: reference(answer)},
        }
    return described


def _infer() -> dict[str, Any]:
    body: Content = {JSON: reference(schemas.InferRequest), OCTETS: BINARY}
    answers: Content = {JSON: reference(schemas.InferAnswer), OCTETS: BINARY}
    problems = set(INFERENCE_PROBLEMS) - {406}
    described = operation("Infer", tag=TAG, answers=answers, body=body, problems=sorted(problems))
    described["parameters"] = [_HEADER_LENGTH, *described["parameters"]]
    _as_oip_errors(described)
    return described


def _as_oip_errors(described: dict[str, Any]) -> None:
    for status, answer in described["responses"].items():
        if int(status) >= 400:
            answer["content"] = {JSON: reference(schemas.OipError)}
