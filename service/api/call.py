"""What a handler gets: the request, its record, and the parts of the service that it may use."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import Receive, Scope

from service.api.guard import Guard
from service.api.parameters import ModelQuery, Query, parse_query, shorten
from service.dataplane import DataPlane
from service.errors import ClientGone, MalformedInput, UnsupportedMediaType
from service.intake import Intake
from service.lifecycle import Lifecycle
from service.models.registry import Registry
from service.models.served import ServedModel
from service.observability.merging import Snapshot
from service.observability.metrics import Metrics
from service.observability.record import RequestRecord, record_of
from service.offload import Offload
from service.settings import Settings

TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
DECODES_FIRST: Final = frozenset(("decode", "traverse"))
_TIMEOUT: Final = re.compile(rb"[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that handlers share; built once, in `create_app`.

    Args:
        others: asks the other processes of this service for their counts; None if there are none.
    """

    settings: Settings
    registry: Registry
    plane: DataPlane
    offload: Offload
    intake: Intake
    lifecycle: Lifecycle
    metrics: Metrics
    others: Callable[[], Awaitable[list[Snapshot]]] | None = None


class Call(Request):
    """A Starlette request that knows the service; its body is read by `read_body` only."""

    def __init__(self, scope: Scope, receive: Receive, service: Service) -> None:
        super().__init__(scope, receive)
        self.service = service
        self.record: RequestRecord = record_of(scope)
        self.guard: Guard | None = None

    def accept(self) -> bytes | None:
        """Value of `Accept`."""
        return self.record.headers.get(b"accept")

    def query(self, schema: type[Query]) -> Query:
        """The checked query string."""
        return parse_query(self.scope["query_string"], schema)

    def model(self, query: ModelQuery) -> ServedModel:
        """The model that the query names; it is on the answer's headers from here on.

        Raises:
            QueueFull, Draining, DeadlineExceeded: an inference could not be taken on; its body need
                not be read.
        """
        model = self.service.registry.get(query.model, query.version)
        self.record.model, self.record.version = model.name, str(model.version)
        if self.guard is not None:
            operation = "decode" if self.record.operation in DECODES_FIRST else "encode"
            model.batcher.require_room(operation, deadline=self.record.deadline_s)
        return model

    def timeout_s(self) -> float:
        """The time this request may take, from its header and the settings, in seconds."""
        given = self.record.headers.get(TIMEOUT_HEADER)
        settings = self.service.settings
        if given is None:
            return settings.request_timeout_ms / 1e3
        if not _TIMEOUT.fullmatch(given):
            shown = given[:40].decode("latin-1")
            raise MalformedInput(
                "`X-Request-Timeout-Ms` must be a whole number of milliseconds from 1 up; got "
                f"`{shown}`"
            )
        return min(int(given), settings.max_request_timeout_ms) / 1e3

    async def read_body(self) -> bytes:
        """The whole body; its size is bounded by the body limit around the routes.

        Raises:
            UnsupportedMediaType: it is compressed.
            ClientGone: the connection closed before it was complete.
        """
        encoding = self.record.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            got = shorten(encoding.decode("latin-1"))
            raise UnsupportedMediaType(
                f"`Content-Encoding` must be left out; got `{got}`; send the body uncompressed"
            )
        chunks: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the client closed the connection before its body was complete")
            chunk = message.get("body", b"")
            chunks.append(chunk)
            if self.guard is not None:
                self.guard.received_bytes += len(chunk)
            if not message.get("more_body"):
                break
        if self.guard is not None:
            self.guard.body_read = True
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
