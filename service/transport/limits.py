"""What the connections of a server may take, and which of them are idle."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.transport.connection import Connection


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What the connections of one server may take, and those that are idle, the oldest first.

    Args:
        head_timeout_s: for the head of a request, from the connection or from its first byte.
        send_timeout_s: in which a client must read some of its answer.
        max_connections: one more takes the place of an idle one or is answered 429.
        on_refused: told the reason of each refusal.
        on_lost: told of each connection's end.
    """

    head_timeout_s: float
    send_timeout_s: float
    max_connections: int
    on_refused: Callable[[str], None]
    on_lost: Callable[[], None] | None = None
    idle: "dict[Connection, None]" = field(default_factory=dict)
