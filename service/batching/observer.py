"""What the batcher tells whoever counts: plain calls, so that it needs no metrics library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

RejectReason = Literal["queue_rows", "queue_bytes", "deadline", "draining"]
ExpireStage = Literal["admission", "queue", "running"]


class BatchStats(NamedTuple):
    """One finished batch: its rows, the rows it was padded to, and the requests it served.

    Args:
        origins: what the requests said of themselves when they were submitted, one each.
    """

    operation: str
    rows: int
    padded_rows: int
    requests: int
    infer_s: float
    origins: Sequence[object] = ()


class Observer(Protocol):
    """Called on the event loop, once an event; must be quick and must not raise."""

    def batch_finished(self, batch: BatchStats) -> None:
        """A batch ran."""

    def batch_failed(self, operation: str, requests: int, error: Exception) -> None:
        """A batch raised; with more than one request each is tried again on its own."""

    def rejected(self, operation: str, reason: RejectReason) -> None:
        """A request was refused at once."""

    def expired(self, operation: str, stage: ExpireStage) -> None:
        """A request's deadline passed."""

    def cancelled(self, operation: str) -> None:
        """A caller left before its answer."""


class SilentObserver:
    """Counts nothing."""

    def batch_finished(self, batch: BatchStats) -> None:
        pass

    def batch_failed(self, operation: str, requests: int, error: Exception) -> None:
        pass

    def rejected(self, operation: str, reason: RejectReason) -> None:
        pass

    def expired(self, operation: str, stage: ExpireStage) -> None:
        pass

    def cancelled(self, operation: str) -> None:
        pass
