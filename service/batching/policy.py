"""How batches are made and how much may wait: set once, read by the batcher and its admission."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

DEFAULT_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class BatchPolicy:
    """The knobs of a batcher.

    Args:
        max_batch_rows: rows of one batch at most; larger requests are split.
        max_queue_rows: rows that may wait; a request that does not fit is refused.
        max_queue_bytes: likewise for the bytes of the waiting rows.
        lanes: batches that run at the same time.
        max_wait_ms: how long a batch that is not full may wait for more rows; 0 never waits.
        bucket_sizes: sizes that batches are padded to, rising; empty leaves them as they are.
        min_share_rows: when several lanes are idle, waiting rows are shared out among them, but
            not into shares smaller than this.
        inline_rows: with nothing under way, this many rows or fewer run on the event loop itself,
            which saves two changes of thread, and lets what comes meanwhile share the next batch;
            0 never does.
    """

    max_batch_rows: int = 64
    max_queue_rows: int = 1024
    max_queue_bytes: int = 64 * 2**20
    lanes: int = 1
    max_wait_ms: float = 0.0
    bucket_sizes: tuple[int, ...] = DEFAULT_BUCKETS
    min_share_rows: int = 4
    inline_rows: int = 0

    def __post_init__(self) -> None:
        if min(self.max_batch_rows, self.max_queue_rows, self.max_queue_bytes, self.lanes) < 1:
            raise ValueError("rows, bytes and lanes of a batcher must be at least 1")
        if list(self.bucket_sizes) != sorted(set(self.bucket_sizes)):
            raise ValueError(f"`bucket_sizes` must rise; got {self.bucket_sizes}")

    def padded(self, rows: int) -> int:
        """The smallest bucket that holds `rows`; more than the largest bucket stays as it is."""
        place = bisect_left(self.bucket_sizes, rows)
        return self.bucket_sizes[place] if place < len(self.bucket_sizes) else rows

    def share(self, waiting_rows: int, *, idle_lanes: int) -> int:
        """How many rows the next batch takes, so that idle lanes get about the same."""
        if idle_lanes > 1:
            even = -(-waiting_rows // idle_lanes)
            return min(self.max_batch_rows, max(even, self.min_share_rows))
        return self.max_batch_rows
