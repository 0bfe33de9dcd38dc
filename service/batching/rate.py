"""How fast rows are done, measured while there is work."""

from __future__ import annotations

# Work older than this many seconds of busy time counts half.
HALF_LIFE_S = 1.0
# Fewer rows than this say too little about the rate.
FEWEST_ROWS = 32
# When nothing has run for so long, what was measured before may no longer hold.
OUTDATED_AFTER_S = 5.0


class RateMeter:
    """Rows a second over the time in which at least one batch was under way.

    With few rows about, batches are small and the measured rate is below what full batches reach,
    so waiting times derived from it err to the long side.
    """

    def __init__(self) -> None:
        self._batches = 0
        self._since = 0.0
        self._busy_s = 0.0
        self._rows = 0.0

    def batch_started(self, now: float) -> None:
        if self._batches == 0:
            self._since = now
        self._batches += 1

    def batch_finished(self, now: float, *, rows: int) -> None:
        since, self._since = self._since, now
        self._batches -= 1
        self.observe(now - since, rows=rows)

    def observe(self, busy_s: float, *, rows: int) -> None:
        """Rows that took so long; for work that is timed where it is done."""
        self._busy_s += busy_s
        self._rows += rows
        if self._busy_s > HALF_LIFE_S and self._rows > FEWEST_ROWS * 2:
            self._busy_s /= 2
            self._rows /= 2

    def is_outdated(self, now: float) -> bool:
        """Whether nothing runs or has run for a while."""
        return self._batches == 0 and now - self._since > OUTDATED_AFTER_S

    def forget(self) -> None:
        """Measure anew."""
        self._busy_s = self._rows = 0.0

    @property
    def rows_per_s(self) -> float | None:
        """None until enough was seen."""
        if self._rows < FEWEST_ROWS or self._busy_s <= 0:
            return None
        return self._rows / self._busy_s

    def seconds_for(self, rows: int) -> float | None:
        """How long that many rows take, all lanes together; None until enough was seen."""
        rate = self.rows_per_s
        return None if rate is None else rows / rate
