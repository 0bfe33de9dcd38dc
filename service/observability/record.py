"""One mutable record a request: filled by the layers it passes, read by headers and metrics."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

RECORD: Final = "rfvae.record"  # a key in the ASGI scope
REFUSAL: Final = "rfvae.refusal"  # another: what the connection answered in the application's place
STAGES: Final = ("decode", "queue", "infer", "encode")


class Refusal(NamedTuple):
    """An answer that the application does not know of."""

    request_id: str
    status: int
    problem: str


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request so far; times are of the monotonic clock, in seconds."""

    request_id: str
    started_s: float
    headers: dict[bytes, bytes]
    operation: str = "other"
    model: str = ""
    version: str = ""
    deadline_s: float | None = None
    rows: int = 0
    status: int = 0
    problem: str = ""
    received_bytes: int = 0
    sent_bytes: int = 0
    decode_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    encode_s: float = 0.0
    close_connection: bool = False
    batch_rows: int = 0
    trace_id: str = ""
    origin: object = None  # the span of a request that is traced

    def server_timing(self, now_s: float) -> bytes:
        """The stages and the total in milliseconds, as the `Server-Timing` header has them."""
        return (
            b"decode;dur=%.3f, queue;dur=%.3f, infer;dur=%.3f, encode;dur=%.3f, total;dur=%.3f"
            % (
                self.decode_s * 1e3,
                self.queue_s * 1e3,
                self.infer_s * 1e3,
                self.encode_s * 1e3,
                (now_s - self.started_s) * 1e3,
            )
        )


def record_of(scope: Any) -> RequestRecord:
    """The record that the outermost layer put into this request's ASGI scope."""
    record: RequestRecord = scope[RECORD]
    return record
