"""What a connection is answered without the application: limits on connections and heads."""

import logging
import secrets
from typing import Final

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.problems import PROBLEM_JSON, problem_body, problem_headers
from service.errors import HeadTooLarge, QueueFull, RequestTimeout, ServiceError
from service.events import log_event
from service.observability.record import RECORD, REFUSAL, Refusal, record_of
from service.transport.exchange import date_headers

MAX_HEAD_BYTES: Final = 64 * 1024
RETRY_AFTER_S: Final = 1.0


def answer_to(error: ServiceError, scope: Scope | None = None) -> bytes:
    """The bytes of a whole answer after which the connection ends; its id goes to the log.

    Args:
        scope: of the request under way, whose id and line in the log it takes; None if there is
            none.
    """
    is_known = scope is not None and RECORD in scope
    request_id = record_of(scope).request_id if is_known else secrets.token_hex(8)
    if scope is None:
        log_event(
            logging.INFO, "refused", request_id=request_id, status=error.status, problem=error.type
        )
    else:
        scope[REFUSAL] = Refusal(request_id, error.status, error.type)
    body = problem_body(error, request_id)
    headers = [
        *date_headers(),
        (b"x-request-id", request_id.encode()),
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
        *problem_headers(error),
    ]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return STATUS_LINE[error.status] + lines + b"\r\n" + body


def too_many(max_connections: int) -> QueueFull:
    """All connections are busy."""
    return QueueFull(
        RETRY_AFTER_S,
        f"this server keeps {max_connections} connections at most and all are busy; retry "
        f"in {RETRY_AFTER_S:g} s, or raise RFVAE_MAX_CONNECTIONS",
    )


def too_large(received_bytes: int) -> HeadTooLarge:
    """A head that is too long, or does not end."""
    return HeadTooLarge(
        f"the head of a request may have {MAX_HEAD_BYTES} bytes; got {received_bytes}; send "
        "shorter headers"
    )


def too_slow(head_timeout_s: float, received_bytes: int) -> RequestTimeout:
    """A head that does not come."""
    return RequestTimeout(
        f"the head of a request must arrive within {head_timeout_s:g} s; got "
        f"{received_bytes} bytes of it; send it faster, or raise RFVAE_HEAD_TIMEOUT_S"
    )
