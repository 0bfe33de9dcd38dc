"""Builds the application: parts, routes, layers, and what happens at start and end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.call import Service
from service.api.compare import compare_routes
from service.api.decode import decode_routes
from service.api.docs import docs_routes
from service.api.encode import encode_routes
from service.api.explorer import explorer_routes
from service.api.factors import factors_routes
from service.api.health import health_routes, is_ready
from service.api.models import models_routes
from service.api.oip_routes import oip_routes
from service.api.openapi import install_openapi
from service.api.problems import Problems
from service.api.route import Dispatch, LeanRoute
from service.api.security import describe_keys, exempt_from
from service.api.traverse import traverse_routes
from service.auth import KeyRing
from service.batching.policy import BatchPolicy
from service.dataplane import DataPlane, Limits
from service.errors import ServiceError
from service.intake import Intake
from service.lifecycle import Lifecycle
from service.loading import load_options
from service.middleware.access_log import AccessLog
from service.middleware.api_keys import ApiKeys
from service.middleware.body_limit import BodyLimit
from service.middleware.in_flight import InFlight
from service.middleware.load_limit import LoadLimit
from service.middleware.own_names import OwnNames
from service.middleware.request_id import RequestId
from service.models.registry import Registry, SyncReport
from service.models.repository import FoundVersion, Verified, require_versions, scan
from service.models.served import load_model
from service.models.watch import RepositoryWatch
from service.observability.merging import Snapshot
from service.observability.metrics import Metrics
from service.observability.model_metrics import ReadyModel
from service.offload import Offload
from service.runtime.threads import cpu_budget
from service.settings import Settings

if TYPE_CHECKING:
    from service.observability.tracing import Tracing

_DESCRIPTION = (
    "Turns an image into the few factors that a Relevance Factor VAE found to vary in its training "
    "data, and those numbers back into images. Errors are `application/problem+json`."
)


class App(FastAPI):
    """Hands requests to the layers at once, without what FastAPI and Starlette do before."""

    layers: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["app"] = self  # the router looks whether it is there
            await self.layers(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    settings: Settings,
    registry: Registry | None = None,
    *,
    tracing: "Tracing | None" = None,
    verified: Verified | None = None,
    others: Callable[[], Awaitable[list[Snapshot]]] | None = None,
) -> FastAPI:
    """Wires one independent application.

    Args:
        registry: how models are loaded, for tests; default: from `settings`.
        tracing: where spans go, for tests; default: from `settings`.
        verified: versions that the first load need not hash.
        others: asks the other processes of this service for their counts; None if there are none.
    """
    metrics = Metrics()
    tracing = tracing or _tracing(settings)
    registry = registry or _registry(settings, metrics, tracing, verified or Verified())
    threads = settings.image_threads or cpu_budget().cores
    offload = Offload(threads)
    limits = Limits(settings.max_rows, settings.max_steps, settings.max_queue_bytes)
    service = Service(
        settings=settings,
        registry=registry,
        plane=DataPlane(limits, offload),
        offload=offload,
        intake=Intake(threads),
        lifecycle=Lifecycle(),
        metrics=metrics,
        others=others,
    )
    app = App(
        title="RF-VAE",
        version=version("rfvae"),
        description=_DESCRIPTION,
        openapi_url=None,  # `docs_routes` has the document and a page that works offline
        lifespan=_lifespan(service, tracing),
        redirect_slashes=False,  # it would lead to `http` and the client's `Host`, keys and all
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.service = service
    routes = _routes(app, service)
    app.router.routes.extend(routes)
    install_openapi(app)
    if settings.asks_for_keys:
        describe_keys(app, exempt_from(routes, settings.auth_exempt))
    layers = _layers(routes, app.router, service, tracing)
    _watch(service, layers)
    app.layers = app.middleware_stack = layers
    return app


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    from service.observability.tracing import Tracing  # an extra, and slow to import

    return Tracing.to_collector(settings.otlp_endpoint, ratio=settings.trace_ratio)


def _registry(
    settings: Settings, metrics: Metrics, tracing: "Tracing | None", verified: Verified
) -> Registry:
    options = load_options(
        settings,
        batching=BatchPolicy(
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            max_queue_bytes=settings.max_queue_bytes,
            max_wait_ms=settings.batch_wait_ms,
        ),
        observer=metrics if tracing is None else tracing.observer(metrics),
        verified=verified,
    )
    registry = Registry(
        lambda found: load_model(found, options),
        default_model=settings.default_model,
        linger_s=settings.max_request_timeout_ms / 1e3,
        on_change=lambda: _show_models(registry, metrics),
    )
    return registry


def _routes(app: FastAPI, service: Service) -> list[LeanRoute]:
    return [
        *encode_routes(service),
        *factors_routes(service),
        *decode_routes(service),
        *traverse_routes(service),
        *compare_routes(service),
        *models_routes(service),
        *oip_routes(service),
        *health_routes(service),
        *docs_routes(app, service),
        *explorer_routes(service),
    ]


def _layers(
    routes: list[LeanRoute], router: ASGIApp, service: Service, tracing: "Tracing | None"
) -> InFlight:
    """The layers around the routes, the outermost last; all of FastAPI's own are left out."""
    settings, lifecycle = service.settings, service.lifecycle
    app: ASGIApp = LoadLimit(
        Dispatch(routes, router),
        max_requests=settings.max_in_flight,
        max_bytes=settings.max_in_flight_bytes,
        retry_after_s=lambda: max(service.registry.retry_after_s(), service.intake.retry_after_s()),
    )
    app = BodyLimit(app, max_body_bytes=settings.max_body_bytes)
    if settings.asks_for_keys:
        is_exempt = exempt_from(routes, settings.auth_exempt)
        app = ApiKeys(app, knows=KeyRing(settings.api_key_hashes).knows, is_exempt=is_exempt)
    if settings.is_for_this_machine:
        app = OwnNames(app)
    app = Problems(app)
    app = AccessLog(app, metrics=service.metrics, choice=settings.access_log)
    app = app if tracing is None else tracing.layer(app)
    app = RequestId(app, draining=lambda: lifecycle.draining)
    return InFlight(app)


def _watch(service: Service, in_flight: InFlight) -> None:
    """Shows the metrics where the numbers of the moment are."""
    models = service.registry.ready_models
    service.metrics.watch(
        in_flight=lambda: in_flight.count,
        queue_rows=lambda: sum(model.batcher.queue_rows for model in models()),
        queue_bytes=lambda: sum(model.batcher.queue_bytes for model in models()),
        reading_wait_s=service.intake.wait_s,
        is_ready=lambda: is_ready(service),
    )


def _lifespan(
    service: Service, tracing: "Tracing | None"
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load_models(service))
        yield
        service.lifecycle.draining = True
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        await service.registry.drain(timeout_s=service.settings.grace_s)
        service.intake.close()
        service.offload.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    return lifespan


async def _load_models(service: Service) -> None:
    """Loads beside the running loop, so that the probes answer meanwhile; then goes on looking."""
    repositories = service.settings.model_repository
    failure: ServiceError | None = None
    found: list[FoundVersion] = []
    try:
        found = scan(repositories)
        require_versions(found, repositories)
        report = await service.registry.sync(found)
        _count_loads(service.metrics, report)
        failure = _failure(service.registry, report)
    except ServiceError as error:
        failure = error
    _show_models(service.registry, service.metrics)
    service.lifecycle.settle(failure)
    if failure is None and service.settings.repository_poll_s > 0:
        watch = RepositoryWatch(
            service.registry,
            repositories,
            found=found,
            on_report=lambda report: _count_loads(service.metrics, report),
        )
        await watch.run(service.settings.repository_poll_s)


def _failure(registry: Registry, report: SyncReport) -> ServiceError | None:
    """Why the service must not start: a model without a single version that answers."""
    ready = {model.name for model in registry.ready_models()}
    for (name, _), error in report.failed.items():
        if name not in ready:
            return error
    try:
        registry.get()
    except ServiceError as error:
        return error
    return None


def _count_loads(metrics: Metrics, report: SyncReport) -> None:
    metrics.models.observe_loads(
        loaded=[name for name, _ in report.loaded], refused=[name for name, _ in report.failed]
    )


def _show_models(registry: Registry, metrics: Metrics) -> None:
    ready = [
        ReadyModel(
            name=model.name,
            version=model.version,
            provider=model.engine.providers[0],
            factors={dim: model.space.names[dim] for dim in model.space.relevant_dims.tolist()},
            low=model.space.low,
            high=model.space.high,
            lanes=model.engine.plan.lanes,
            threads=model.engine.plan.threads,
        )
        for model in registry.ready_models()
    ]
    metrics.models.show(registry.names(), ready)
