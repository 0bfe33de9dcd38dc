"""Routes without FastAPI's parameter machinery: the handler gets the call, OpenAPI its text."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.call import Call, Service
from service.api.guard import BodyPace, Guard, GuardTimer
from service.errors import MethodNotAllowed
from service.observability.metrics import INFERENCE_OPERATIONS
from service.settings import Settings

Handler = Callable[[Call], Awaitable[Response]]


class LeanRoute(APIRoute):
    """An APIRoute for OpenAPI's sake that calls its handler directly.

    Args:
        operation: name in metrics, log and `Server-Timing`; one of a closed set.
        documentation: the OpenAPI operation: summary, parameters, requestBody, responses, with
            its `tag`; a route without one stays out of the document.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        operation: str,
        service: Service,
        documentation: dict[str, Any] | None = None,
    ) -> None:
        described = dict(documentation or {})
        super().__init__(
            path,
            handler,
            methods=[method],
            response_class=Response,
            tags=[described.pop("tag", operation)],
            operation_id=described.pop("operationId", handler.__name__),
            include_in_schema=documentation is not None,
            openapi_extra=described,
        )
        guarded = operation in INFERENCE_OPERATIONS and method == "POST"
        self.operation = operation
        run = _guarded(handler, service.settings) if guarded else handler
        self.app = _serve(run, operation, service)


def _serve(run: Handler, operation: str, service: Service) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, service)
        call.record.operation = operation
        response = await run(call)
        await response(scope, receive, send)

    return app


def _guarded(handler: Handler, settings: Settings) -> Handler:
    pace = BodyPace(settings.body_timeout_s, settings.min_body_bytes_per_s)
    timer = GuardTimer()

    async def run(call: Call) -> Response:
        timeout_s = call.timeout_s()
        call.record.deadline_s = call.record.started_s + timeout_s
        with Guard(call.receive, timeout_s, pace, timer) as guard:
            call.guard = guard
            return await handler(call)

    return run


def inference_route(handler: Handler, service: Service, documentation: Any) -> LeanRoute:
    """POST under the handler's own name, guarded by deadline and disconnect."""
    name = getattr(handler, "__name__", "")
    return LeanRoute(
        "POST", f"/{name}", handler, operation=name, service=service, documentation=documentation
    )


class Dispatch:
    """Finds a route of fixed path by one look-up; all else goes to the router, in its order."""

    def __init__(self, routes: Sequence[LeanRoute], router: ASGIApp) -> None:
        self._router = router
        self._fixed: dict[tuple[str, str], ASGIApp] = {}
        self._allowed: dict[str, str] = {}
        for route in routes:
            if "{" not in route.path:
                for method in route.methods or ():
                    self._fixed[method, route.path] = route.app
        for (method, path), app in list(self._fixed.items()):
            if method == "GET":
                self._fixed["HEAD", path] = app
        for method, path in self._fixed:
            listed = self._allowed.get(path)
            self._allowed[path] = f"{listed}, {method}" if listed else method

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            app = self._fixed.get((scope["method"], scope["path"]))
            if app is not None:
                return app(scope, receive, send)
            if scope["path"] in self._allowed:
                raise MethodNotAllowed(scope["method"], self._allowed[scope["path"]])
            if scope["method"] == "HEAD":  # the server leaves the body out, by the request's scope
                scope = {**scope, "method": "GET"}
        return self._router(scope, receive, send)
