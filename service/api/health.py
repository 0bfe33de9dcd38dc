"""`/livez`, `/startupz`, `/readyz` and `/metrics`: probes that do not lie, and the numbers."""

import asyncio
from typing import Any

from starlette.responses import Response

from service.api import schemas
from service.api.answers import Ready, json_answer
from service.api.call import Call, Service
from service.api.negotiation import JSON
from service.api.openapi import operation, reference
from service.api.route import Handler, LeanRoute
from service.lifecycle import Lifecycle
from service.observability.merging import merge
from service.observability.metrics import CONTENT_TYPE


async def livez(call: Call) -> Response:
    """Answers as long as the event loop turns."""
    return json_answer({"status": "live", "reasons": []})


async def startupz(call: Call) -> Response:
    """Says whether the first load of the models is over; from then on it stays so."""
    lifecycle = call.service.lifecycle
    if lifecycle.started:
        return json_answer({"status": "started", "reasons": []})
    reasons = [_why_not_started(lifecycle)]
    return json_answer({"status": "starting", "reasons": reasons}, status=503)


async def readyz(call: Call) -> Response:
    """Says whether requests can be answered now; loading another version does not flip it."""
    reasons = _obstacles(call.service)
    if reasons:
        return json_answer({"status": "not ready", "reasons": reasons}, status=503)
    return json_answer({"status": "ready", "reasons": []})


async def metrics(call: Call) -> Response:
    """All metrics in Prometheus' text format; made in a thread, as it takes milliseconds.

    Of several processes, any one answers for all of them.
    """
    service = call.service
    # not in the threads for pictures, which have most to do when the numbers matter most
    if service.others is None:
        service.metrics.models.flush()
        text = await asyncio.to_thread(service.metrics.render)
    else:
        counts = [*await service.others(), service.metrics.snapshot()]
        text = await asyncio.to_thread(merge, counts)
    return Ready(text, CONTENT_TYPE.decode())


def health_routes(service: Service) -> list[LeanRoute]:
    """The probes and the metrics."""
    states = {200: "It is so.", 503: "Not so; the reasons say why."}
    probes = {
        "/livez": (livez, "Is the process alive?"),
        "/startupz": (startupz, "Has the service started?"),
        "/readyz": (readyz, "Can requests be answered?"),
    }
    routes = []
    for path, (handler, question) in probes.items():
        described = operation(question, tag="operations", answers={})
        described["responses"] = {
            str(status): {"description": text, "content": {JSON: reference(schemas.HealthAnswer)}}
            for status, text in states.items()
        }
        routes.append(_route(path, handler, "health", described, service))
    text = {"text/plain": {"schema": {"type": "string"}}}
    described = operation("Metrics for Prometheus", tag="operations", answers=text)
    return [*routes, _route("/metrics", metrics, "metrics", described, service)]


def is_ready(service: Service) -> bool:
    """What `/readyz` says, without the reasons; in any thread."""
    lifecycle = service.lifecycle
    return lifecycle.started and not lifecycle.draining and service.registry.is_ready


def _obstacles(service: Service) -> list[str]:
    if is_ready(service):
        return []
    if service.lifecycle.draining:
        return ["the service is shutting down"]
    if not service.lifecycle.started:
        return [_why_not_started(service.lifecycle)]
    reason = service.registry.why_not_ready()
    return [] if reason is None else [reason]


def _why_not_started(lifecycle: Lifecycle) -> str:
    failure = lifecycle.failure
    return "the models are being loaded" if failure is None else failure.detail


def _route(
    path: str, handler: Handler, name: str, described: dict[str, Any], service: Service
) -> LeanRoute:
    return LeanRoute("GET", path, handler, operation=name, service=service, documentation=described)
