"""What a person sees while a run goes on: a live screen, or plain lines where there is none."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 1.0
BAR_WIDTH = 24
MAX_ROWS = 32
Clock = Callable[[], float]
Record = dict[str, Any]


class Display(Protocol):
    """Shows a run; `close` must be called."""

    def say(self, message: str) -> None:
        """Show a line that stays."""
        ...

    def stepped(self, step: int) -> None:
        """A step is done; called after each, so it must be cheap."""
        ...

    def logged(self, record: Record) -> None:
        """A record was written."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class Pace:
    """Steps per second since the start, and the time that is left at that pace."""

    def __init__(self, *, first: int, last: int, clock: Clock = time.monotonic) -> None:
        self._first, self._last, self._clock = first, last, clock
        self._started = clock()

    def at(self, step: int) -> str:
        """`step 500/1,000 · 9.1 steps/s · 0:00:55 left`."""
        elapsed = max(self._clock() - self._started, 1e-9)
        rate = (step - self._first) / elapsed
        left = (self._last - step) / rate if rate else 0.0
        return f"step {step:,}/{self._last:,} · {rate:.1f} steps/s · {duration(left)} left"


def duration(seconds: float) -> str:
    """`1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def make_display(console: Console, *, first: int, last: int) -> Display:
    """A live screen on a terminal, else lines."""
    pace = Pace(first=first, last=last)
    if console.is_terminal:
        return LiveDisplay(console, pace)
    return PlainDisplay(console, pace)


class PlainDisplay:
    """One line about every ten seconds, at log steps."""

    def __init__(self, console: Console, pace: Pace, *, clock: Clock = time.monotonic) -> None:
        self._console, self._pace, self._clock = console, pace, clock
        self._last_line = float("-inf")

    def say(self, message: str) -> None:
        """Print a line."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stepped(self, step: int) -> None:
        """Nothing: lines come at log steps."""

    def logged(self, record: Record) -> None:
        """Print pace, terms and relevances, unless the last line is fresh."""
        if self._clock() - self._last_line >= PLAIN_EVERY_S:
            self._last_line = self._clock()
            relevance = " ".join(f"{value:.2f}" for value in record["relevance"])
            self.say(f"{self._pace.at(record['step'])} · {_terms(record)} · relevance {relevance}")

    def close(self) -> None:
        """Nothing to undo."""


class LiveDisplay:
    """A screen that is drawn over itself: pace, terms, one bar a dimension."""

    def __init__(self, console: Console, pace: Pace, *, clock: Clock = time.monotonic) -> None:
        self._pace, self._clock = pace, clock
        self._record: Record | None = None
        self._last_drawn = float("-inf")
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def say(self, message: str) -> None:
        """Print a line above the screen."""
        self._live.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stepped(self, step: int) -> None:
        """Draw again, at most once a second."""
        if self._clock() - self._last_drawn >= LIVE_EVERY_S:
            self._last_drawn = self._clock()
            parts: list[Text | Table] = [Text(self._pace.at(step))]
            if self._record:
                parts += [Text(_terms(self._record)), _bars(self._record)]
            self._live.update(Group(*parts), refresh=True)

    def logged(self, record: Record) -> None:
        """Keep the record for the next drawing."""
        self._record = record

    def close(self) -> None:
        """Leave the last screen on the terminal."""
        if self._record:
            self._last_drawn = float("-inf")
            self.stepped(self._record["step"])
        self._live.stop()


def _terms(record: Record) -> str:
    return (
        f"loss {record['loss']:.1f} nats · reconstruction {record['reconstruction']:.1f} · "
        f"KL {record['kl']:.2f} · TC {record['total_correlation']:.3f} · "
        f"gate entropy {record['relevance_entropy']:.2f} · "
        f"discriminator {record['discriminator_loss']:.3f}"
    )


def _bars(record: Record) -> Table:
    table = Table("dim", "relevance", "", "KL (nats)", box=None)
    rows = zip(record["relevance"], record["kl_per_dim"], strict=True)
    for dim, (relevance, kl) in list(enumerate(rows))[:MAX_ROWS]:
        bar = "█" * round(relevance * BAR_WIDTH)
        table.add_row(str(dim), f"{relevance:.2f}", bar.ljust(BAR_WIDTH, "·"), f"{kl:.2f}")
    return table
