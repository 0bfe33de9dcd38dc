"""Turns every error into one `application/problem+json` answer (RFC 9457); hides all the rest."""

import asyncio
import logging
import math
from typing import Final

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import (
    ClientGone,
    Draining,
    InferenceFailed,
    MethodNotAllowed,
    NotFound,
    QueueFull,
    ServiceError,
    Unauthorized,
    one_line,
)
from service.events import log_event
from service.observability.record import RequestRecord, record_of

PROBLEM_JSON: Final = "application/problem+json"
OIP_PATH: Final = "/v2"
TYPE_PREFIX: Final = "urn:rfvae:problem:"
_CUT_OFF: Final = "the service ended before this answer was ready; send the request again"
_HIDDEN_DETAIL: Final = "the service failed on this request; the log has more under its request id"


class Problems:
    """The outermost edge of the application code: no exception leaves it but cancellation."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except ServiceError as error:
            if isinstance(error, InferenceFailed):
                _log_failure(record_of(scope), reason=_in_one_line(error.__cause__ or error))
            await _answer(error, scope, send)
        except HTTPException as error:
            await _answer(_from_router(error, scope), scope, send)
        except asyncio.CancelledError:  # by the server, at the end of the grace time
            await _answer(Draining(_CUT_OFF), scope, send)
            raise
        except Exception as error:
            _log_failure(record_of(scope), error)
            await _answer(ServiceError(_HIDDEN_DETAIL), scope, send)


def problem_headers(error: ServiceError) -> list[tuple[bytes, bytes]]:
    """Headers that some errors add to the answer."""
    if isinstance(error, QueueFull):
        return [(b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode())]
    if isinstance(error, MethodNotAllowed):
        return [(b"allow", error.allow.encode())]
    if isinstance(error, Unauthorized):
        return [(b"www-authenticate", b'Bearer realm="rfvae"')]
    return []


def problem_body(error: ServiceError, request_id: str) -> bytes:
    """The members of RFC 9457, and the id under which the log knows the request."""
    return orjson.dumps(
        {
            "type": TYPE_PREFIX + error.type,
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "request_id": request_id,
        }
    )


async def _answer(error: ServiceError, scope: Scope, send: Send) -> None:
    record = record_of(scope)
    record.problem = error.type
    if record.status or isinstance(error, ClientGone):
        record.status = error.status  # the answer has begun, or nobody would read it
        return
    body, media_type = _form(error, scope["path"], record)
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *problem_headers(error),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_oip(path: str) -> bool:
    """Whether a path belongs to the Open Inference Protocol, which has its own form of errors."""
    return path == OIP_PATH or path.startswith(f"{OIP_PATH}/")


def _form(error: ServiceError, path: str, record: RequestRecord) -> tuple[bytes, str]:
    """Body and media type, as the clients of this path expect them."""
    if is_oip(path):
        return orjson.dumps({"error": error.detail}), "application/json"
    return problem_body(error, record.request_id), PROBLEM_JSON


def _from_router(error: HTTPException, scope: Scope) -> ServiceError:
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "other methods")
        return MethodNotAllowed(scope["method"], allow.replace("GET", "GET, HEAD"))
    path = scope["path"][:100]
    return NotFound(f"the path must be one of this service; got `{path}`; see /docs for the routes")


def _log_failure(record: RequestRecord, error: Exception | None = None, **further: object) -> None:
    facts: dict[str, object] = {"request_id": record.request_id, "operation": record.operation}
    if record.trace_id:
        facts["trace_id"] = record.trace_id
    if record.model:
        facts |= {"model": record.model, "version": record.version}
    log_event(logging.ERROR, "request_failed", error, **facts, **further)


def _in_one_line(error: BaseException) -> str:
    """What went wrong in a batch, whose trace is in the line `batch_failed`."""
    return f"{type(error).__name__}: {one_line(error)}"
