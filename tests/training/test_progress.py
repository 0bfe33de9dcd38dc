"""What is shown while a run goes on, with a clock that the test moves."""

import io

import pytest
from rich.console import Console

from training.progress import LiveDisplay, Pace, PlainDisplay, duration, make_display

RECORD = {
    "step": 50,
    "loss": 123.45,
    "reconstruction": 100.0,
    "kl": 12.5,
    "total_correlation": 0.25,
    "relevance_entropy": 0.5,
    "discriminator_loss": 0.693,
    "relevance": [1.0, 0.25],
    "kl_per_dim": [12.0, 0.5],
}


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def console_on(terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=150, color_system=None), text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (360000, "100:00:00")],
)
def test_duration_is_hours_minutes_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_pace_counts_from_the_step_where_the_run_was_resumed() -> None:
    clock = FakeClock()
    pace = Pace(first=1000, last=3000, clock=clock)
    clock.now_s = 100.0
    assert pace.at(2000) == "step 2,000/3,000 · 10.0 steps/s · 0:01:40 left"


def test_plain_display_prints_about_every_ten_seconds() -> None:
    console, text = console_on(False)
    clock = FakeClock()
    display = PlainDisplay(console, Pace(first=0, last=100, clock=clock), clock=clock)
    for clock.now_s in (1.0, 5.0, 10.9, 11.0, 12.0):
        display.logged(RECORD)
    lines = text.getvalue().splitlines()
    assert [line.split(" · ")[1] for line in lines] == ["50.0 steps/s", "4.5 steps/s"]
    assert "TC 0.250" in lines[0]
    assert lines[0].endswith("relevance 1.00 0.25")


def test_live_display_shows_a_bar_for_each_dimension() -> None:
    console, text = console_on(True)
    clock = FakeClock()
    display = LiveDisplay(console, Pace(first=0, last=100, clock=clock), clock=clock)
    clock.now_s = 5.0
    display.logged(RECORD)
    display.stepped(50)
    display.close()
    output = text.getvalue()
    assert "step 50/100 · 10.0 steps/s · 0:00:05 left" in output
    assert "█" * 24 in output
    assert "█" * 6 + "·" * 18 in output


def test_live_display_draws_at_most_once_a_second() -> None:
    console, text = console_on(True)
    clock = FakeClock()
    display = LiveDisplay(console, Pace(first=0, last=100, clock=clock), clock=clock)
    for clock.now_s in (0.0, 0.1, 0.9, 1.0, 1.5):
        display.stepped(1)
    drawn = text.getvalue().count("step 1/100")
    display.close()
    assert drawn == 2


def test_make_display_follows_the_console() -> None:
    assert isinstance(make_display(console_on(False)[0], first=0, last=1), PlainDisplay)
    live = make_display(console_on(True)[0], first=0, last=1)
    live.close()
    assert isinstance(live, LiveDisplay)
