"""Which provider each node of an opened graph runs on.

An active provider leaves the nodes that it cannot run to the next one, which ONNX Runtime does not
say unless it is asked.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from service.errors import DeviceUnavailable
from service.events import log_event

RECORD = "session.record_ep_graph_assignment_info"
MOST_NAMED = 8


def require_nodes_on(session: Any, wanted: str, *, name: str) -> None:
    """Log the nodes that run elsewhere than on `wanted`; the session was opened with `RECORD`.

    Raises:
        DeviceUnavailable: all of them do.
    """
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = Counter(str(node.op_type) for node in part.get_nodes())
        placed.setdefault(part.ep_name, Counter()).update(operators)
    total = sum(operators.total() for operators in placed.values())
    is_used = placed.pop(wanted, None) is not None
    if total and not is_used:
        raise DeviceUnavailable(
            f"{wanted} must run {name}; it runs none of its {total} nodes, which are left to "
            f"{', '.join(sorted(placed))}; set `device` to `cpu`"
        )
    for provider, operators in sorted(placed.items()):
        log_event(
            logging.WARNING,
            "graph_partly_elsewhere",
            graph=name,
            provider=provider,
            nodes=operators.total(),
            of=total,
            operators=",".join(sorted(operators)[:MOST_NAMED]),
        )
