"""`GET /models` and `GET /models/{name}`: what is served, in which state, from which manifest."""

from typing import Any

from starlette.responses import Response

from service.api import schemas
from service.api.answers import json_answer
from service.api.call import Call, Service
from service.api.negotiation import JSON, negotiate
from service.api.openapi import operation, reference
from service.api.parameters import NoQuery
from service.api.route import LeanRoute
from service.errors import UnknownModel
from service.models.registry import ModelState, Registry, VersionStatus


async def list_models(call: Call) -> Response:
    """Every model with its versions and their states."""
    call.query(NoQuery)
    negotiate(call.accept(), (JSON,))
    registry = call.service.registry
    facts = [_facts(registry, name) for name in registry.names()]
    return json_answer({"default_model": registry.default_name or None, "models": facts})


async def show_model(call: Call) -> Response:
    """One model, with the manifests of the versions that are loaded."""
    call.query(NoQuery)
    negotiate(call.accept(), (JSON,))
    registry, name = call.service.registry, str(call.path_params["name"])
    if name not in registry.names():
        raise UnknownModel(name, registry.names())
    manifests = {
        str(status.version): status.model.manifest.model_dump(mode="json")
        for status in _versions(registry, name)
        if status.model is not None and status.state is not ModelState.DRAINING
    }
    return json_answer({**_facts(registry, name), "manifests": manifests})


def models_routes(service: Service) -> list[LeanRoute]:
    """The two routes."""
    listed = operation(
        "Models, versions and states",
        tag="models",
        answers={JSON: reference(schemas.ModelsAnswer)},
        problems=(406, 422),
    )
    one = operation(
        "One model with its manifests",
        tag="models",
        answers={JSON: reference(schemas.ModelAnswer)},
        problems=(404, 406, 422),
    )
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    one["parameters"] = [name]
    return [
        LeanRoute(
            "GET", "/models", list_models, operation="models", service=service, documentation=listed
        ),
        LeanRoute(
            "GET",
            "/models/{name}",
            show_model,
            operation="models",
            service=service,
            documentation=one,
        ),
    ]


def _versions(registry: Registry, name: str) -> list[VersionStatus]:
    return [status for status in registry.statuses() if status.name == name]


def _facts(registry: Registry, name: str) -> dict[str, Any]:
    versions = _versions(registry, name)
    ready = [status.version for status in versions if status.state is ModelState.READY]
    return {
        "name": name,
        "default": name == registry.default_name,
        "default_version": max(ready, default=None),
        "versions": [_version_facts(status) for status in versions],
    }


def _version_facts(status: VersionStatus) -> dict[str, Any]:
    model = status.model
    return {
        "version": status.version,
        "state": status.state.value,
        "reason": status.reason,
        "providers": [] if model is None else model.engine.providers,
    }
